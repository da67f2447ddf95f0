"""A client of HTTP/2 that does as it is told: whole frames by hand, for what well-behaved clients never say."""
import socket
import struct
import time

from hpack import Decoder, Encoder

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, ACK = 1, 4, 1
NO_ERROR, PROTOCOL_ERROR, REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM = 0, 1, 7, 8, 11
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
INITIAL_WINDOW_SIZE = 4


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


class Ended(Exception):
    """The server closed the connection."""


class Reply:
    def __init__(self):
        self.heads, self.body, self.ended, self.reset = [], b"", False, None

    @property
    def fields(self):
        return dict(self.heads[-1])

    @property
    def status(self):
        return int(self.fields[":status"])


class H2Client:
    def __init__(self, port, settings=(), timeout=10, receive_bytes=0, tls=None, server_name="localhost"):
        self.socket = socket.socket()
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(timeout)
        self.socket.connect(("127.0.0.1", port))
        if tls:  # an ssl.SSLContext
            self.socket = tls.wrap_socket(self.socket, server_hostname=server_name)
            assert self.socket.selected_alpn_protocol() == "h2"
        self.timeout = timeout
        self.encoder, self.decoder = Encoder(), Decoder()
        self.next_stream = 1
        self.replies = {}
        self.goaway = None
        self.got = b""
        self.windows = True  # opened again by what comes
        self.send(PREFACE + frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in settings)))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def block(self, path="/", method="GET", fields=(), authority="x", scheme="http"):
        pseudo = [(":method", method), (":scheme", scheme), (":path", path), (":authority", authority)]
        return self.encoder.encode([*pseudo, *fields], huffman=False)

    def take_stream(self):
        stream, self.next_stream = self.next_stream, self.next_stream + 2
        self.replies[stream] = Reply()
        return stream

    def request(self, path="/", method="GET", fields=(), body=None, open_end=False, **more):
        """`open_end`: trailers follow its body."""
        stream = self.take_stream()
        data = frame(HEADERS, END_HEADERS | (END_STREAM if body is None else 0), stream, self.block(path, method, fields, **more))
        if body is not None:
            for at in range(0, len(body) or 1, 16384):
                data += frame(DATA, END_STREAM if at + 16384 >= len(body) and not open_end else 0, stream, body[at:at + 16384])
        self.send(data)
        return stream

    def read_frame(self):
        while len(self.got) < 9 or len(self.got) < 9 + int.from_bytes(self.got[:3], "big"):
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError as error:
                raise Ended from error
            if not data:
                raise Ended
            self.got += data
        length, kind, flags, stream = int.from_bytes(self.got[:3], "big"), self.got[3], self.got[4], int.from_bytes(self.got[5:9], "big")
        payload, self.got = self.got[9:9 + length], self.got[9 + length:]
        self.take(kind, flags, stream, payload)
        return kind, flags, stream, payload

    def take(self, kind, flags, stream, payload):
        reply = self.replies.setdefault(stream, Reply())
        if kind == SETTINGS and not flags & ACK:
            self.try_send(frame(SETTINGS, ACK, 0))
        elif kind == HEADERS:
            assert flags & END_HEADERS, "longer than a frame"
            reply.heads.append(self.decoder.decode(payload))
        elif kind == DATA:
            reply.body += payload
            if self.windows and payload:
                increment = struct.pack(">I", len(payload))
                self.try_send(frame(WINDOW_UPDATE, 0, 0, increment) + frame(WINDOW_UPDATE, 0, stream, increment))
        elif kind == RST_STREAM:
            reply.reset = struct.unpack(">I", payload)[0]
        elif kind == GOAWAY:
            self.goaway = struct.unpack(">II", payload[:8])
        if kind in (HEADERS, DATA) and flags & END_STREAM:
            reply.ended = True

    def try_send(self, data):
        try:
            self.send(data)
        except OSError:
            pass  # what it said before is still to be read

    def wait(self, *streams):
        """Until these streams are over."""
        deadline = time.monotonic() + self.timeout
        while not all(self.replies[s].ended or self.replies[s].reset is not None for s in streams):
            assert time.monotonic() < deadline, "no answer"
            self.read_frame()
        return self.replies[streams[0]]

    def get(self, path="/", **more):
        return self.wait(self.request(path, **more))

    def wait_end(self):
        """The code of the GOAWAY behind which the server closes."""
        try:
            while True:
                self.read_frame()
        except Ended:
            return self.goaway and self.goaway[1]

    def ping(self):
        """Everything before it was read."""
        self.send(frame(PING, 0, 0, b"12345678"))
        while True:
            kind, flags, _, _ = self.read_frame()
            if kind == PING and flags & ACK:
                return
