"""VH2: nothing is dropped silently. A connection that ends with bytes of a request has a record, one that ends idle is counted by what ended it."""
import socket
import struct

from http_client import wait_until
from instance import JSON_LOG, ONE_SITE

GET = "GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n"
ENDS = ("connections_unused", "connections_left", "connections_reset", "connections_drained", "connections_cut")


def ends(server):
    return {name: server.counter(name) for name in ENDS if server.counter(name)}


def reset(connection):
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def told(record):
    return record["path"], record["status"], record["substatus"], record["reason"]


def test_a_client_that_leaves_is_counted_or_recorded(make, transport):
    server = make(ONE_SITE + JSON_LOG, files={"a.txt": "a"}, transport=transport)
    before = ends(server)  # of who asked whether it is ready

    def more():
        now = ends(server)
        return {name: now[name] - before.get(name, 0) for name in now if now[name] != before.get(name, 0)}
    server.connect().close()
    wait_until(lambda: more() == {"connections_unused": 1}, what="it left without a word")
    with server.connect() as connection:
        connection.request("/a.txt")
    wait_until(lambda: more() == {"connections_unused": 1, "connections_left": 1}, what="it left behind its answer")
    reset(server.connect())
    wait_until(lambda: more() == {"connections_unused": 1, "connections_left": 1, "connections_reset": 1}, what="a reset without a word")
    half = server.connect()
    half.send("GET /half")
    half.close()
    server.wait_records(2)
    half = server.connect()
    half.send("GET /ha")
    wait_until(lambda: server.counter("requests_open") == 1, what="its first bytes are there")
    reset(half)
    records = server.wait_records(3)
    assert [told(record)[1:] for record in records] == [(200, 0, "-"), (0, 3, "Connection_Dropped"), (0, 3, "Connection_Dropped")]
    assert [record["bytes_in"] for record in records][1:] == [9, 7]
    assert more() == {"connections_unused": 1, "connections_left": 1, "connections_reset": 2}


def test_a_server_that_ends_tells_of_what_it_cut_and_counts_what_was_idle(make, transport):
    """What the end of the drain cuts has a record with its reason: half a head, and an answer that nobody takes."""
    server = make(ONE_SITE + JSON_LOG + "server.drain_timeout = 600ms\nserver.drain_idle_timeout = 100ms\nsite.main.route.r.prefix = /r/\n",
                  files={"a.txt": "a", "big.bin": b"x" * (16 << 20)}, transport=transport)
    before = ends(server)
    idle, fresh, half, slow = (server.connect() for _ in range(4))
    idle.request("/a.txt")
    half.send("GET /half")
    slow.send("GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n")
    slow.fill()
    wait_until(lambda: server.counter("requests_open") == 2, what="both are in flight")
    (server.dir / "elsewhere").mkdir()
    old = server.role("server")
    server.sysctl(site__main__route__r__root=server.dir / "elsewhere")  # beyond the old one's sandbox: a new server comes
    wait_until(lambda: server.role("server") not in (None, old), what="the old server has ended")
    assert ends(server) == {**before, "connections_drained": 2, "connections_cut": 2}
    records = server.wait_records(3)
    assert sorted(map(told, records)) == [("", 0, 4, "AppShutdown"), ("/a.txt", 200, 0, "-"), ("/big.bin", 200, 0, "AppShutdown")]
    for connection in (idle, fresh, half, slow):
        connection.close()


def test_accepts_that_fail_are_counted(make):
    server = make(ONE_SITE + "server.reactors = 1\n", files={"a.txt": "a"}, transport="epoll", wrapper=["prlimit", "--nofile=160:160"])
    connections = [server.connect() for _ in range(170)]  # those that find no descriptor wait in the kernel
    wait_until(lambda: server.counter("accept_errors") > 0, what="an accept has failed")
    for connection in connections[:-1]:
        connection.close()
    assert connections[-1].request("/a.txt").status == 200
    connections[-1].close()
