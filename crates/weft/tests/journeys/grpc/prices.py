"""A gRPC service without generated code: bytes in, bytes out, and its health."""

import os
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc


def fail(_request, context):
    context.set_trailing_metadata((("reason", "sold out"),))
    context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")


def wait(_request, context):
    """Answers when the caller has given up, by whatever way that is told."""
    gone = futures.Future()
    context.add_callback(lambda: gone.set_result(None))
    gone.result(timeout=20)
    return b"too late"


METHODS = {
    "Get": grpc.unary_unary_rpc_method_handler(lambda request, _: b"price of " + request),
    "Time": grpc.unary_unary_rpc_method_handler(lambda _, context: b"%d" % context.time_remaining()),
    "Watch": grpc.unary_stream_rpc_method_handler(lambda request, _: (b"%d" % n for n in range(int(request)))),
    "Sum": grpc.stream_unary_rpc_method_handler(lambda requests, _: b"%d" % sum(int(n) for n in requests)),
    "Chat": grpc.stream_stream_rpc_method_handler(lambda requests, _: (b"re " + one for one in requests)),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "Wait": grpc.unary_unary_rpc_method_handler(wait),
}


class Prices(grpc.GenericRpcHandler):
    def service(self, details):
        package, _, method = details.method.rpartition("/")
        return METHODS.get(method) if package == "/prices.v1.Prices" else None


server = grpc.server(futures.ThreadPoolExecutor(16))
server.add_generic_rpc_handlers((Prices(),))
state = health.HealthServicer()
state.set("", health_pb2.HealthCheckResponse.SERVING)
health_pb2_grpc.add_HealthServicer_to_server(state, server)
server.add_insecure_port(f"127.0.0.1:{os.environ['PORT']}")
server.start()
server.wait_for_termination()
