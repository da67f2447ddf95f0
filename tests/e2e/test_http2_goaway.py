"""Issue 5 §2: GOAWAY with drain, on a change of the configuration and when the server is replaced: what was asked is answered, nothing is lost."""
import threading

import pytest

pytest.importorskip("hpack")
from demo import FEATURES  # noqa: E402
from h2_client import NO_ERROR, SETTINGS, WINDOW_UPDATE, Ended, H2Client, frame  # noqa: E402
from http_client import Connection, wait_until  # noqa: E402
from instance import ONE_SITE, free_port, tls_lines  # noqa: E402

pytestmark = pytest.mark.skipif(not FEATURES["http/2"]["available"], reason="this build does not speak HTTP/2")
BIG = bytes(range(256)) * 8000
LAST_STREAM = 0x7FFFFFFF  # RFC 9113 section 6.8: requests that cross it on their way are answered
MORE = b"\0\x7f\0\0"
MAX_CONCURRENT_STREAMS = 3


def half_way(client, **more):
    """A stream whose answer does not go on until its windows are opened."""
    client.windows = False
    stream = client.request("/big.bin", **more)
    while len(client.replies[stream].body) < 65535:
        client.read_frame()
    return stream


def wait_goaway(client):
    while client.goaway is None:
        client.read_frame()
    return client.goaway


def finish(client, stream, **more):
    """The server says GOAWAY: what runs, and what crosses it on its way, is answered to the last byte."""
    assert wait_goaway(client) == (LAST_STREAM, NO_ERROR)
    late = client.request("/a.txt", **more)
    client.windows = True
    client.send(frame(WINDOW_UPDATE, 0, 0, MORE) + frame(WINDOW_UPDATE, 0, stream, MORE))
    client.wait(stream, late)
    assert client.replies[stream].body == BIG and client.replies[late].body == b"a"


@pytest.fixture
def server(make, tmp_path, transport):
    lines, secure = tls_lines(tmp_path)
    made = make(ONE_SITE + "http2.cleartext = 1\nserver.drain_idle_timeout = 1h\n" + lines, files={"a.txt": "a", "big.bin": BIG}, transport=transport)
    made.secure = secure
    return made


def over_tls(server):
    return H2Client(server.secure.port, tls=server.secure.client(["h2"]))


def test_cleartext_that_is_switched_off(server):
    with H2Client(server.port) as client, over_tls(server) as other, server.connect() as one:
        stream = half_way(client)
        assert other.get("/a.txt", scheme="https").body == b"a" and one.request("/a.txt").body == b"a"
        server.sysctl(http2__cleartext=0)
        finish(client, stream)
        other.ping()
        assert other.goaway is None and other.get("/a.txt", scheme="https").body == b"a", "nothing has changed for it"
        assert one.request("/a.txt").get("connection") != "close"


def test_what_clients_were_promised(server):
    """They have SETTINGS, which hold for as long as the connection does: new ones are for new connections."""
    with H2Client(server.port) as plain, over_tls(server) as ciphered, server.connect() as one:
        streams = [half_way(plain), half_way(ciphered, scheme="https")]
        assert one.request("/a.txt").body == b"a"
        server.sysctl(http2__streams=7)
        finish(plain, streams[0])
        finish(ciphered, streams[1], scheme="https")
        assert one.request("/a.txt").get("connection") != "close"
    with H2Client(server.port) as fresh:
        kind, _, _, payload = fresh.read_frame()
        told = {int.from_bytes(payload[at:at + 2], "big"): int.from_bytes(payload[at + 2:at + 6], "big") for at in range(0, len(payload), 6)}
        assert kind == SETTINGS and told[MAX_CONCURRENT_STREAMS] == 7
        assert fresh.get("/a.txt").body == b"a"
        server.sysctl(cache__size="64m")
        fresh.ping()
        assert fresh.goaway is None, "nothing has changed for it"


def test_an_address_that_is_listened_to_no_more(server):
    other = free_port()
    server.sysctl(server__listen=f"127.0.0.1:{server.port} 127.0.0.1:{other}")
    with H2Client(server.port) as client, H2Client(other) as leaver, over_tls(server) as ciphered, Connection(other) as one:
        stream = half_way(leaver)
        assert client.get("/a.txt").body == one.request("/a.txt").body == ciphered.get("/a.txt", scheme="https").body == b"a"
        server.sysctl(server__listen=f"127.0.0.1:{server.port}")
        last = one.request("/a.txt")
        assert last.body == b"a" and last.get("connection") == "close" and one.at_end()
        finish(leaver, stream)
        for stays, scheme in ((client, "http"), (ciphered, "https")):
            stays.ping()
            assert stays.goaway is None and stays.get("/a.txt", scheme=scheme).body == b"a"


def test_an_idle_client_that_does_not_leave_is_left(server):
    with H2Client(server.port) as client:
        assert client.get("/a.txt").body == b"a"
        server.sysctl(http2__cleartext=0, server__drain_idle_timeout="100ms")
        assert wait_goaway(client) == (LAST_STREAM, NO_ERROR)
        assert client.wait_end() == NO_ERROR and client.goaway[0] == 1


def test_a_client_that_asks_on_all_the_same_is_told_where_it_ends(server):
    with H2Client(server.port) as client:
        stream = half_way(client)
        client.send(frame(WINDOW_UPDATE, 0, 0, MORE))
        server.sysctl(http2__cleartext=0, server__drain_idle_timeout="500ms")
        wait_goaway(client)
        late = 0
        while client.goaway[0] == LAST_STREAM:
            late = client.request("/a.txt")
            while not client.replies[late].ended and client.goaway[0] >= late:
                client.read_frame()
        assert client.goaway[0] in (late, late - 2)
        client.windows = True
        client.send(frame(WINDOW_UPDATE, 0, stream, MORE))
        assert client.wait(stream).body == BIG
        assert client.wait_end() == NO_ERROR


def test_a_server_that_is_replaced(server):
    front = server.role("server")
    with H2Client(server.port) as plain, over_tls(server) as ciphered:
        streams = [half_way(plain), half_way(ciphered, scheme="https")]
        server.cli("restart-server")
        finish(plain, streams[0])
        finish(ciphered, streams[1], scheme="https")
    wait_until(lambda: server.role("server") != front, 20)
    with over_tls(server) as fresh:
        assert fresh.get("/a.txt", scheme="https").body == b"a"


def test_nobody_misses_an_answer_while_servers_are_replaced(server):
    """A client as RFC 9113 has it: on GOAWAY it goes on over another connection, and asks again for what the old one says it did not take."""
    stop, asked, repeated, wrong = threading.Event(), [], [], []

    def ask():
        try:
            while not stop.is_set():
                with over_tls(server) as client:
                    while client.goaway is None and not stop.is_set():
                        streams = [client.request("/a.txt", scheme="https") for _ in range(8)]
                        asked.extend(streams)
                        for stream in streams:
                            while not (reply := client.replies[stream]).ended:
                                if client.goaway and client.goaway[0] < stream:
                                    repeated.append(stream)
                                    break
                                client.read_frame()
                            else:
                                assert reply.body == b"a" and reply.status == 200
        except (AssertionError, OSError, Ended) as error:
            wrong.append(repr(error))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        front, before = server.role("server", 20), len(asked)
        server.cli("restart-server")
        wait_until(lambda: server.role("server", 20) != front and (wrong or len(asked) > before + 200), 30, what="the new server is asked")
    stop.set()
    for thread in threads:
        thread.join(30)
    assert not wrong and len(repeated) < len(asked) / 10
