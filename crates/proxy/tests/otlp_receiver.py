"""A receiver of traces made of the messages that OpenTelemetry publishes: gRPC by grpcio, HTTP by the standard library.

Says on the first line where it listens, then each request that it took as a line of JSON, or one that it turned away.
With `--fail-first` the first request of each kind is turned away in a way that may be tried again.
"""

import concurrent.futures
import http.server
import json
import sys
import threading

import grpc
from google.protobuf.json_format import MessageToDict
from google.protobuf.unknown_fields import UnknownFieldSet
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as messages
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as service

BODY_BYTES_MAX = 4 * 1024 * 1024
turn_away = {"grpc", "http"} if "--fail-first" in sys.argv else set()
lock = threading.Lock()


def say(line):
    with lock:
        print(json.dumps(line), flush=True)


def turns_away(over):
    with lock:
        first = over in turn_away
        turn_away.discard(over)
    if first:
        say({"over": over, "turned_away": True})
    return first


def plain(attributes):
    return {one.key: MessageToDict(one.value).popitem()[1] for one in attributes}


def tell(over, how, request):
    try:
        tell_all(over, how, request)
    except Exception as error:
        # Whoever waits for the line shall see why it does not come.
        say({"over": over, "error": repr(error)})
        raise


def tell_all(over, how, request):
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            spans = [
                {
                    "trace_id": span.trace_id.hex(),
                    "span_id": span.span_id.hex(),
                    "parent_span_id": span.parent_span_id.hex(),
                    "name": span.name,
                    "kind": span.kind,
                    "start": span.start_time_unix_nano,
                    "end": span.end_time_unix_nano,
                    "attributes": plain(span.attributes),
                    "status": span.status.code,
                    "unknown_fields": len(UnknownFieldSet(span)),
                }
                for span in scope.spans
            ]
            say(
                {
                    "over": over,
                    "how": how,
                    "resource": plain(resource.resource.attributes),
                    "scope": [scope.scope.name, scope.scope.version],
                    "spans": spans,
                }
            )


class Traces(service.TraceServiceServicer):
    def Export(self, request, context):
        if turns_away("grpc"):
            context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
        tell("grpc", dict(context.invocation_metadata()), request)
        return messages.ExportTraceServiceResponse()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(min(int(self.headers["content-length"]), BODY_BYTES_MAX))
        if self.path != "/v1/traces" or self.headers["content-type"] != "application/x-protobuf":
            return self.answer(404, b"")
        if turns_away("http"):
            return self.answer(503, b"")
        tell("http", dict(self.headers), messages.ExportTraceServiceRequest.FromString(body))
        self.answer(200, messages.ExportTraceServiceResponse().SerializeToString())

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=4))
service.add_TraceServiceServicer_to_server(Traces(), server)
grpc_port = server.add_insecure_port("127.0.0.1:0")
server.start()
web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=web.serve_forever, daemon=True).start()
say({"grpc": grpc_port, "http": web.server_port})
# Whoever started it holds the other end of standard input.
sys.stdin.read()
