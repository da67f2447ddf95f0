"""Issue 5 §2: every way in which HTTP/2 ends a stream or a connection has its reason in the journal: one record each, in the log as it is written."""
import collections
import struct

import pytest

pytest.importorskip("hpack")
from demo import FEATURES  # noqa: E402
from h2_client import (ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE,  # noqa: E402
                       H2Client, frame)
from http_client import wait_until  # noqa: E402
from instance import JSON_LOG, ONE_SITE  # noqa: E402

pytestmark = pytest.mark.skipif(not FEATURES["http/2"]["available"], reason="this build does not speak HTTP/2")


def word(number):
    return struct.pack(">I", number)


def literal(name, value):
    return b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def block(*more, method="GET", scheme="http", path="/a.txt"):
    """A header block without compression; a pseudo-header that is None is left out."""
    pseudo = [(":method", method), (":scheme", scheme), (":path", path), (":authority", "x")]
    return b"".join(literal(*one) for one in [*pseudo, *more] if one[1] is not None)


def request(head, stream=1, flags=END_HEADERS | END_STREAM):
    return frame(HEADERS, flags, stream, head)


OPEN = request(block(method="POST"), flags=END_HEADERS)  # its body is to come
# What is said behind the preface, and how often each sub-status is recorded for it.
CONNECTIONS = {
    "data on an idle stream": (frame(DATA, 0, 9, b"x"), {41: 1}),
    "an even stream": (request(block(), 2), {41: 1}),
    "settings on a stream": (frame(SETTINGS, 0, 1), {41: 1}),
    "an answer to settings that says something": (frame(SETTINGS, ACK, 0, bytes(6)), {42: 1}),
    "a setting out of range": (frame(SETTINGS, 0, 0, b"\0\2" + word(2)), {41: 1}),
    "a window beyond 2^31": (frame(SETTINGS, 0, 0, b"\0\4" + word(2**31)), {43: 1}),
    "a short ping": (frame(PING, 0, 0, b"short"), {42: 1}),
    "a frame that is too long": (frame(DATA, 0, 1, bytes(20_000)), {42: 1}),
    "a header block within another": (frame(HEADERS, 0, 1, block()) + frame(PING, 0, 0, bytes(8)), {41: 1}),
    "a continuation of nothing": (frame(CONTINUATION, END_HEADERS, 1, block()), {41: 1}),
    "a block that cannot be decompressed": (request(b"\xff\xff\xff\xff\xff"), {44: 1}),
    "a padding longer than its frame": (frame(DATA, 8, 1, b"\x09x"), {41: 1}),
    "a push": (frame(5, END_HEADERS, 1, word(2) + block()), {41: 1}),
    "a reset of an idle stream": (frame(RST_STREAM, 0, 1, word(8)), {41: 1}),
    "a window opened by nothing": (frame(WINDOW_UPDATE, 0, 0, word(0)), {41: 1}),
    "the connection's window overrun": (frame(WINDOW_UPDATE, 0, 0, word(2**31 - 1)), {43: 1}),
    "headers without end": (frame(HEADERS, 0, 1, block()) + frame(CONTINUATION, 0, 1, literal("a", "b")) * 200, {72: 1}),
    "pings without end": (frame(PING, 0, 0, bytes(8)) * 200, {73: 1}),
    "settings without end": (frame(SETTINGS, 0, 0) * 200, {73: 1}),
    "resets without end": (b"".join(request(block(), s) + frame(RST_STREAM, 0, s, word(8)) for s in range(1, 200, 2)), {74: 1}),
    "a fault of ours, as the client has it": (frame(GOAWAY, 0, 0, word(0) + word(2)) * 3, {47: 1}),
    "a stream that depends on itself": (frame(HEADERS, END_HEADERS | END_STREAM | 32, 1, word(1) + b"\0" + block()), {41: 1}),
}
STREAMS = {
    "no path": (request(block(path=None)), {50: 1}),
    "a path twice": (request(block((":path", "/"))), {51: 1}),
    "a pseudo-header of answers": (request(block((":status", "200"))), {52: 1}),
    "a space in the path": (request(block(path="/a b")), {57: 1}),
    "another host": (request(block(("host", "y"))), {59: 1}),
    "a name in upper case": (request(block(("X", "y"))), {61: 1}),
    "a line feed": (request(block(("x", "a\nb"))), {62: 1}),
    "a connection field": (request(block(("connection", "x"))), {63: 1}),
    "a transfer coding": (request(block(("transfer-encoding", "chunked"))), {63: 1}),
    "a length that is none": (request(block(("content-length", "1x"))), {65: 1}),
}


def reasons(records):
    """sub-status → how many records of connections and streams that came to no request."""
    return collections.Counter(record["substatus"] for record in records if record["status"] == 0 and record["substatus"] >= 40)


def test_each_is_recorded_once(make):
    server = make(ONE_SITE + JSON_LOG + "http2.cleartext = 1\nhttp2.control_frames = 100\nhttp2.resets = 50\nserver.reactors = 1\n", files={"a.txt": "a"})
    wanted = collections.Counter()
    with H2Client(server.port) as other:
        for what, (said, expected) in (CONNECTIONS | STREAMS).items():
            with H2Client(server.port) as client:
                client.try_send(said)
                if what in CONNECTIONS:
                    client.wait_end()
                else:
                    client.ping()  # a fault of one stream ends no connection
            assert other.get("/a.txt").body == b"a", what
            wanted.update(expected)
            wait_until(lambda: reasons(server.records()) >= wanted, what=f"{what}: {expected}; {reasons(server.records()) - wanted}")
            assert reasons(server.records()) == wanted, what
    assert reasons(server.settled_records()) == wanted
