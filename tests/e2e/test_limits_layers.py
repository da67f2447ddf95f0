"""QS1, QS3, QS5: the limits of connections, time and pace hold over TLS and for HTTP/2 as they do for plain HTTP/1.1 (test_limits.py)."""
import pytest

pytest.importorskip("hpack")
from demo import FEATURES  # noqa: E402
from h2_client import CANCEL, INITIAL_WINDOW_SIZE, WINDOW_UPDATE, Ended, H2Client, frame  # noqa: E402
from http_client import Closed, Connection, wait_until  # noqa: E402
from instance import JSON_LOG, ONE_SITE, tls_lines  # noqa: E402

BIG = 32 << 20
WAYS = ["tls"] + ["h2c", "h2"] * FEATURES["http/2"]["available"]


class Over:
    """A client by one of the ways: of HTTP/1.1 over TLS, or of HTTP/2 without and with it."""

    def __init__(self, server, way):
        tls = server.secure.client(["http/1.1" if way == "tls" else "h2"]) if way != "h2c" else None
        self.plain = Connection(server.secure.port) if way == "tls" else None
        if self.plain:
            self.plain.sock = tls.wrap_socket(self.plain.sock, server_hostname="localhost")
        else:
            self.h2 = H2Client(server.secure.port if tls else server.port, settings=[(INITIAL_WINDOW_SIZE, 2 * BIG)], tls=tls)
            self.h2.send(frame(WINDOW_UPDATE, 0, 0, (2 * BIG).to_bytes(4, "big")))

    def get(self):
        """The status, or None where it is not let in."""
        try:
            return self.plain.request("/a.txt").status if self.plain else self.h2.get("/a.txt", authority="localhost").status
        except (Closed, Ended, OSError):
            return None

    def refused(self):
        """Whether it is told, or shown, that there are too many."""
        return self.get() in (503, None)

    def at_end(self):
        return self.plain.at_end() if self.plain else self.h2.wait_end() in (0, None)

    def ask(self):
        if self.plain:
            self.plain.send("GET /big.bin HTTP/1.1\r\nHost: localhost\r\n\r\n")
        else:
            self.stream = self.h2.request("/big.bin", authority="localhost")

    def close(self):
        (self.plain.sock if self.plain else self.h2.socket).close()


@pytest.fixture
def layers(make, tmp_path):
    def build(more):
        lines, secure = tls_lines(tmp_path)
        server = make(ONE_SITE + JSON_LOG + lines + more + ("http2.cleartext = 1\n" if len(WAYS) > 1 else ""), files={"a.txt": "a", "big.bin": b"x" * BIG})
        server.secure = secure
        wait_until(lambda: server.counter("connections_open") == 0, what="who waited for it to start has gone")
        return server
    return build


def test_the_number_of_connections_is_exact(layers):
    server = layers("limits.connections = 6\n")
    held = [Over(server, WAYS[n % len(WAYS)]) for n in range(6)]
    assert [one.get() for one in held] == [200] * 6
    for way in WAYS:
        extra = Over(server, way)
        assert extra.refused(), way
        extra.close()
    assert [one.get() for one in held] == [200] * 6
    held.pop().close()
    wait_until(lambda: server.counter("connections_open") == 5)
    held.append(Over(server, WAYS[-1]))
    assert held[-1].get() == 200
    assert [r["reason"] for r in server.settled_records()].count("ConnLimit") == len(WAYS)
    for one in held:
        one.close()


def test_a_timeout_changes_live(layers):
    server = layers("limits.idle_timeout = 10m\n")
    held = [Over(server, way) for way in WAYS]
    assert [one.get() for one in held] == [200] * len(WAYS)
    server.sysctl(limits__idle_timeout="300ms")
    for one in held:
        assert one.get() == 200  # armed anew with this answer
        assert one.at_end()


def test_who_does_not_read_is_ended_and_who_shuts_a_window_loses_that_stream(layers):
    server = layers("limits.send_rate_min = 100000\nlimits.send_rate_window = 1s\n")
    held = [Over(server, way) for way in WAYS]
    for one in held:
        one.ask()
    slow = lambda: [r["reason"] for r in server.records()].count("Timer_MinBytesPerSecond")
    wait_until(lambda: slow() == len(WAYS), 20, what="a record of each")
    for one in held:
        one.close()
    wait_until(lambda: server.counter("connections_open") == 0)
    if len(WAYS) == 1:
        return
    with H2Client(server.port) as client:
        client.windows = False
        stream = client.request("/big.bin")
        assert client.wait(stream).reset == CANCEL
        client.send(frame(WINDOW_UPDATE, 0, 0, (65535).to_bytes(4, "big")))  # the stream had used up the connection's, too
        answer = client.get("/a.txt")
        assert (answer.status, bytes(answer.body), answer.reset) == (200, b"a", None), "the connection lives on"
    wait_until(lambda: slow() == len(WAYS) + 1, what="a record of the stream")
