"""guide: asks places what there is to see, and makes a sentence of it. Python, standard library.

It does not even read PLACES_URL: urllib honours `http_proxy` by itself, so `http://places/...` is enough.
"""

import http.server
import json
import os
import signal
import threading
import urllib.error
import urllib.parse
import urllib.request

PASSED_ON = ("traceparent", "tracestate", "x-request-id", "weft-deadline")


def sights(city, headers):
    url = "http://places/places/" + urllib.parse.quote(city, safe="")
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5) as answer:
        return json.load(answer)["sights"]


def guide(path, headers):
    """Returns a status and what to say."""
    kind, _, city = path.lstrip("/").partition("/")
    if kind == "healthz":
        return 200, {"status": "ok"}
    if kind != "guides" or not city:
        return 404, {"detail": "no such operation"}
    city = urllib.parse.unquote(city)
    try:
        first, *others = sights(city, headers)
    except urllib.error.HTTPError as error:
        status = 404 if error.code == 404 else 502
        return status, {"detail": f"places answered {error.code}", "by": "python"}
    except OSError as error:
        return 502, {"detail": str(error), "by": "python"}
    return 200, {"advice": f"See {first} first, then {' and '.join(others)}.", "by": "python"}


class Guide(http.server.BaseHTTPRequestHandler):
    timeout = 30

    def do_GET(self):
        headers = {name: self.headers[name] for name in PASSED_ON if name in self.headers}
        status, value = guide(self.path.partition("?")[0], headers)
        body = json.dumps(value).encode() + b"\n"
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """The access log is the proxy's affair."""


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = False  # closing waits for what is open
    request_queue_size = 128


if __name__ == "__main__":
    server = Server(("127.0.0.1", int(os.environ["PORT"])), Guide)
    # shutdown() waits for the loop that the signal interrupts, so it must be called from elsewhere.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"guide listens on {server.server_port}", flush=True)
    server.serve_forever(poll_interval=0.05)
    server.server_close()
