"""Calls `prices.py` through a gateway, in every shape, and holds the answers against what they must be."""

import queue
import sys

import grpc

channel = grpc.insecure_channel(sys.argv[1])


def method(shape, name, package="prices.v1.Prices"):
    same = {"request_serializer": bytes, "response_deserializer": bytes}
    return getattr(channel, shape)(f"/{package}/{name}", **same)


def end_of(call):
    try:
        call()
    except grpc.RpcError as error:
        return error
    return None


assert method("unary_unary", "Get")(b"tea", timeout=10) == b"price of tea"
assert list(method("unary_stream", "Watch")(b"3", timeout=10)) == [b"0", b"1", b"2"]
assert method("stream_unary", "Sum")(iter([b"1", b"2", b"39"]), timeout=10) == b"42"
large = b"x" * 1_000_000
assert method("unary_unary", "Get")(large, timeout=10) == b"price of " + large

# Both directions at once: each request is sent only after the answer to the one before.
waiting = queue.Queue()
answers = method("stream_stream", "Chat")(iter(waiting.get, None), timeout=20)
for n in range(3):
    waiting.put(b"%d" % n)
    assert next(answers) == b"re %d" % n
waiting.put(None)
assert list(answers) == []

# The end of a call: status, message and trailing metadata of the service, as they were.
failed = end_of(lambda: method("unary_unary", "Fail")(b"", timeout=10))
assert (failed.code(), failed.details()) == (grpc.StatusCode.NOT_FOUND, "no such thing"), failed
assert ("reason", "sold out") in [tuple(pair) for pair in failed.trailing_metadata()], failed.trailing_metadata()
unknown = end_of(lambda: method("unary_unary", "Nothing")(b"", timeout=10))
assert unknown.code() == grpc.StatusCode.UNIMPLEMENTED, unknown
# And ours, where no route takes it.
elsewhere = end_of(lambda: method("unary_unary", "Get", "other.Service")(b"", timeout=10))
assert elsewhere.code() == grpc.StatusCode.UNIMPLEMENTED and "W2001" in elsewhere.details(), elsewhere

# Deadlines travel: the service knows what is left, and a call that waits for longer ends in time.
assert int(method("unary_unary", "Time")(b"", timeout=10)) <= 10
late = end_of(lambda: method("unary_unary", "Wait")(b"", timeout=0.3))
assert late.code() == grpc.StatusCode.DEADLINE_EXCEEDED, late
# So does a caller's change of mind.
given_up = method("unary_unary", "Wait").future(b"", timeout=10)
given_up.cancel()
assert given_up.cancelled()
assert method("unary_unary", "Get")(b"tea", timeout=10) == b"price of tea"
