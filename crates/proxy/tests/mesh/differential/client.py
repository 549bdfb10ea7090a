"""Python's own client: asks for each number up to the one given, each on a connection of its own, and says what it read."""

import http.client
import json
import sys

port, methods = int(sys.argv[1]), sys.argv[2].split(",")
for number, method in enumerate(methods):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, f"/{number}")
    answer = connection.getresponse()
    try:
        body, whole = answer.read(), True
    except http.client.IncompleteRead as error:
        body, whole = error.partial, False
    except ConnectionError:
        body, whole = b"", False
    total = 0x811C9DC5
    for byte in body:
        total = ((total ^ byte) * 0x01000193) & 0xFFFFFFFF
    print(json.dumps({"status": answer.status, "bytes": len(body), "sum": total, "whole": whole}), flush=True)
    connection.close()
