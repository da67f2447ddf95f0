"""Issue 5 §1: early data, which whoever recorded it may send again, is refused by default: it is not offered, and not served when it comes all the same."""
import ctypes
import ctypes.util
import socket
import ssl

import pytest
from demo import FEATURES
from h2_client import GOAWAY, HEADERS, PREFACE, SETTINGS
from http_client import wait_until
from instance import JSON_LOG, ONE_SITE, free_port, make_pair

REJECTED = 1  # SSL_EARLY_DATA_REJECTED


class Library:
    """What the ssl module has no words for."""

    def __init__(self):
        self.lib = ctypes.CDLL(ctypes.util.find_library("ssl"))
        for name in ("TLS_client_method", "SSL_CTX_new", "SSL_new", "SSL_get1_session"):
            getattr(self.lib, name).restype = ctypes.c_void_p
        self.context = ctypes.c_void_p(self.lib.SSL_CTX_new(ctypes.c_void_p(self.lib.TLS_client_method())))

    def __getattr__(self, name):
        return getattr(self.lib, name)


@pytest.fixture(scope="module")
def library():
    return Library()


class Client:
    """A TLS client that may send data before it has heard anything of the server."""

    def __init__(self, library, port, alpn, session=None):
        self.library = library
        self.socket = socket.create_connection(("127.0.0.1", port), 20)
        self.socket.settimeout(None)  # the library reads from the descriptor
        self.ssl = ctypes.c_void_p(library.SSL_new(library.context))
        wire = bytes([len(alpn)]) + alpn
        assert library.SSL_set_alpn_protos(self.ssl, wire, len(wire)) == 0
        assert library.SSL_set_fd(self.ssl, self.socket.fileno()) == 1
        if session:
            assert library.SSL_set_session(self.ssl, session) == 1

    def early(self, data):
        written = ctypes.c_size_t()
        assert self.library.SSL_write_early_data(self.ssl, data, ctypes.c_size_t(len(data)), ctypes.byref(written)) == 1
        assert written.value == len(data)

    def handshake(self):
        assert self.library.SSL_connect(self.ssl) == 1

    def write(self, data):
        assert self.library.SSL_write(self.ssl, data, len(data)) == len(data)

    def read(self):
        """All that comes until the server closes."""
        got, piece = b"", ctypes.create_string_buffer(4096)
        while (size := self.library.SSL_read(self.ssl, piece, len(piece))) > 0:
            got += piece.raw[:size]
        return got

    def close(self):
        self.library.SSL_shutdown(self.ssl)  # else its session counts as broken
        self.library.SSL_free(self.ssl)
        self.socket.close()


def request(path, alpn):
    if alpn == b"http/1.1":
        return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    # RFC 7541 without compression; GOAWAY has the server close when it has answered.
    fields = b"".join(b"\0" + bytes([len(part[0])]) + part[0] + bytes([len(part[1])]) + part[1] for part in (
        (b":method", b"GET"), (b":scheme", b"https"), (b":path", path.encode()), (b":authority", b"localhost")))
    frames = ((SETTINGS, 0, 0, b""), (HEADERS, 5, 1, fields), (GOAWAY, 0, 0, bytes(8)))
    return PREFACE + b"".join(len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload for kind, flags, stream, payload in frames)


@pytest.mark.parametrize("alpn", [b"http/1.1"] + FEATURES["http/2"]["available"] * [b"h2"])
def test_early_data_is_not_offered_and_not_served(make, tmp_path, library, transport, alpn):
    certificate, key = make_pair(tmp_path, "localhost")
    port = free_port()
    server = make(ONE_SITE + JSON_LOG + f"server.listen_tls = 127.0.0.1:{port}\nsite.main.tls.certificate = {certificate}\n"
                  f"site.main.tls.key = {key}\n", files={"first": "first", "early": "early", "late": "late"}, transport=transport)
    first = Client(library, port, alpn)
    first.handshake()
    first.write(request("/first", alpn))
    assert b"first" in first.read()
    session = ctypes.c_void_p(library.SSL_get1_session(first.ssl))
    first.close()
    assert library.SSL_SESSION_get_max_early_data(session) == 0
    library.SSL_SESSION_set_max_early_data(session, 16384)  # a client that does not care

    again = Client(library, port, alpn, session)
    again.early(request("/early", alpn))
    again.handshake()
    assert library.SSL_session_reused(again.ssl) == 1, "the ticket itself is good"
    assert library.SSL_get_early_data_status(again.ssl) == REJECTED
    again.write(request("/late", alpn))
    answer = again.read()
    assert b"late" in answer and b"early" not in answer
    again.close()
    library.SSL_SESSION_free(session)
    wait_until(lambda: len(server.records()) >= 2, what="both are recorded")
    assert [record["path"] for record in server.settled_records()] == ["/first", "/late"]
