"""Issue §5, RD3, RD4, QS1, QS5: each limit is exact at N and N+1, each timeout has its own reason."""
import contextlib
import resource
import socket
import threading
import time

import pytest
from http_client import Closed, Connection, wait_until
from instance import JSON_LOG, LONG, ONE_SITE, sub_statuses

SLACK_S = 5  # a timer is never early; how late depends on what else runs on the machine


def last_record(server):
    return server.wait_records(1)[-1]


def exactly(total, start="GET /a.txt HTTP/1.1\r\nHost: x\r\nA: ", end="\r\n\r\n"):
    """A request of that many bytes."""
    return start + "b" * (total - len(start) - len(end)) + end


def asks(target="/a.txt", *fields, method="GET"):
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: x", *fields, "", ""])


CHUNKED = "GET /a.txt HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
LIMITS = [  # key, its value, requests at the limit and beyond it, answers to both, and to the second without the limit (200.0)
    ("head_bytes", "1k", exactly(1024), exactly(1025), "200.0", "431.0"),
    ("field_bytes", 100, asks("/a.txt", "A: " + "b" * 97), asks("/a.txt", "A: " + "b" * 98), "200.0", "431.1"),
    ("fields", 10, asks("/a.txt", *["A: b"] * 9), asks("/a.txt", *["A: b"] * 10), "200.0", "431.2"),  # and Host
    ("url_bytes", 64, asks("/" + "./" * 29 + "a.txt"), asks("/" + "./" * 29 + "/a.txt"), "200.0", "414.0"),
    ("url_bytes", 64, asks("/a.txt?" + "q" * 200), asks("/" + "./" * 29 + "/a.txt?"), "200.0", "414.0"),  # the query has a limit of its own
    ("query_bytes", 10, asks("/a.txt?" + "q" * 10), asks("/a.txt?" + "q" * 11), "200.0", "414.1"),
    ("segment_bytes", 8, asks("/12345678/b/c.txt"), asks("/123456789/b/c.txt"), "200.0", "414.2", "404.0"),
    ("segment_bytes", 8, asks("/%31%32345678/b/c.txt"), asks("/%C3%A4%C3%A4%C3%A4%C3%A4%C3%A4"), "200.0", "414.2", "404.0"),  # in bytes, decoded
    ("segments", 3, asks("/12345678/./x/../b/c.txt"), asks("/1/2/3/4"), "200.0", "404.20", "404.0"),
    ("verb_bytes", 8, asks(method="ABCDEFGH"), asks(method="ABCDEFGHI"), "501.0", "501.1", "501.0"),
    ("body_bytes", 10, asks("/a.txt", "Content-Length: 10") + "b" * 10, asks("/a.txt", "Content-Length: 11"), "200.0", "413.1"),
    ("body_bytes", 10, CHUNKED + "a\r\n0123456789\r\n0\r\n\r\n", CHUNKED + "a\r\n0123456789\r\n1\r\nx\r\n0\r\n\r\n", "200.0", "413.0"),
    ("ranges", 2, asks("/a.txt", "Range: bytes=0-0,50-50"), asks("/a.txt", "Range: bytes=0-0,50-50,90-90"), "206.0", "200.0", "206.0"),
]


def test_each_limit_is_exact_has_its_own_cause_and_acts_on_the_next_request(make, transport):
    """At N it is as if there were no limit, at N+1 it is refused; set live, while connections are open."""
    server = make(ONE_SITE + JSON_LOG, files={"a.txt": "a" * 100, "12345678/b/c.txt": "c"}, transport=transport)
    expected = []

    def ask(connection, request, answer):
        connection.send(request)
        assert connection.read_response().status == int(answer[:3]), (key, request[:60])
        expected.append(answer)

    for key, value, within, beyond, answer, refusal, *otherwise in LIMITS:
        with server.connect() as first, server.connect() as second:
            ask(first, within, answer)
            ask(second, within, answer)
            server.sysctl(**{f"limits__{key}": value})
            ask(first, within, answer)
            ask(first, beyond, refusal)
            assert refusal[0] == "2" or refusal in ("414.0", "414.1", "414.2", "404.20") or first.at_end(), key
            server.sysctl(**{f"limits__{key}": ""})
            if refusal != "413.1":  # its body does not come
                ask(second, beyond, *(otherwise or ["200.0"]))
    records = server.settled_records()
    assert sub_statuses(records) == expected
    assert all(r["reason"] not in ("", "-") for r in records if r["status"] >= 400 and r["status"] != 404)


def test_requests_per_connection(make, transport):
    server = make(ONE_SITE + "limits.requests_per_connection = 3\n", files={"a.txt": "a"}, transport=transport)
    with server.connect() as connection:
        assert connection.request("/a.txt").all("connection") in ([], ["keep-alive"])
        connection.request("/a.txt")
        assert connection.request("/a.txt")["connection"].lower() == "close"
        assert connection.at_end()


HEADS = [  # a site's own limit, requests at it and beyond it, the refusal
    ("head_bytes", "1k", exactly(1024), exactly(1025), "431.0"),
    ("field_bytes", 100, asks("/a.txt", "A: " + "b" * 97), asks("/a.txt", "A: " + "b" * 98), "431.1"),
    ("field_bytes", 100, asks("/a.txt", "A: b" + " " * 96), asks("/a.txt", "A: b" + " " * 97), "431.1"),  # the last line, to its end
    ("field_bytes", 100, asks("/a.txt", "A: " + "b" * 97, "B: c"), asks("/a.txt", "A: " + "b" * 98, "B: c"), "431.1"),
    ("fields", 10, asks("/a.txt", *["A: b"] * 9), asks("/a.txt", *["A: b"] * 10), "431.2"),  # and Host
]


def test_limits_of_the_head_of_one_site(make, transport):
    """Live, on the next request, for that site alone; and for what the cache has, too."""
    server = make("site.x.hosts = x\nsite.x.root = {WWW}\nsite.y.hosts = y\nsite.y.root = {WWW}\n" + JSON_LOG, files={"a.txt": "a" * 100}, transport=transport)
    expected = []

    def ask(connection, request, answer):
        connection.send(request)
        assert connection.read_response().status == int(answer[:3]), (key, request[:60])
        expected.append(answer)

    for key, value, within, beyond, refusal in HEADS:
        with server.connect() as x, server.connect() as y:
            for _ in range(3):  # the cache has it
                ask(x, beyond, "200.0")
                ask(y, beyond.replace("Host: x", "Host: y"), "200.0")
            server.sysctl(**{f"site__x__limits__{key}": value})
            ask(x, within, "200.0")
            ask(x, beyond, refusal)
            ask(y, beyond.replace("Host: x", "Host: y"), "200.0")
            ask(x, within, "200.0")
            server.sysctl(**{f"site__x__limits__{key}": ""})
            ask(x, beyond, "200.0")
    key = "head_bytes of a site that takes more than the others"
    server.sysctl(limits__head_bytes="2k", site__x__limits__head_bytes="8k")
    with server.connect() as x, server.connect() as y:
        ask(x, exactly(8192), "200.0")
        ask(y, exactly(2048).replace("Host: x", "Host: y"), "200.0")
        ask(y, exactly(2049).replace("Host: x", "Host: y"), "431.0")
        ask(x, exactly(8193), "431.0")
        assert x.at_end()
    assert sub_statuses(server.settled_records()) == expected


def test_limits_of_one_site(make, transport):
    """The rest of them, from the same table: exact for the site that has them, live, while its neighbour goes by the server's."""
    server = make("site.x.hosts = x\nsite.x.root = {WWW}\nsite.y.hosts = y\nsite.y.root = {WWW}\n" + JSON_LOG,
                  files={"a.txt": "a" * 100, "12345678/b/c.txt": "c"}, transport=transport)
    expected = []

    def ask(request, answer, host="x"):
        with server.connect() as connection:
            connection.send(request.replace("Host: x", f"Host: {host}"))
            assert connection.read_response().status == int(answer[:3]), (key, host, request[:60])
        expected.append(answer)

    for key, value, within, beyond, answer, refusal, *otherwise in LIMITS:
        if key in ("head_bytes", "field_bytes", "fields", "verb_bytes"):  # above; no site has its own of the last
            continue
        allowed = otherwise[0] if otherwise else "200.0"
        server.sysctl(**{f"site__x__limits__{key}": value})
        ask(within, answer)
        ask(beyond, refusal)
        if refusal != "413.1":  # its body does not come
            ask(beyond, allowed, host="y")
        server.sysctl(**{f"site__x__limits__{key}": "", f"limits__{key}": value})  # and what it inherits
        ask(within, answer)
        ask(beyond, refusal)
        server.sysctl(**{f"limits__{key}": ""})
    assert sub_statuses(server.settled_records()) == expected


# --- time ------------------------------------------------------------------------------------


def timed_end(connection, patience=20):
    """Seconds until the server ends the connection, and what it said before."""
    start = time.monotonic()
    connection.sock.settimeout(patience)
    said = connection.buffer
    while part := connection.sock.recv(4096):
        said += part
    return time.monotonic() - start, said


def test_a_head_that_does_not_come(make, transport):
    server = make(ONE_SITE + JSON_LOG + "limits.header_timeout = 1s\nlimits.idle_timeout = 60s\n", transport=transport)
    with server.connect() as connection:
        connection.send("GET /slow HTTP/1.1\r\nHost:")
        took, said = timed_end(connection)
        assert 0.9 < took < 1 + SLACK_S
        assert said == b"" or said.startswith(b"HTTP/1.1 408 ")
    assert last_record(server)["reason"] == "Timer_HeaderWait"


def test_a_head_that_drips(make, transport):
    """The clock of the head is not wound up by each byte."""
    server = make(ONE_SITE + JSON_LOG + "limits.header_timeout = 1s\n", transport=transport)
    start = time.monotonic()
    with server.connect() as connection:
        try:
            while time.monotonic() - start < 20:
                connection.send("G")
                connection.sock.settimeout(0.1)
                try:
                    if connection.sock.recv(4096) == b"":
                        break
                    break
                except TimeoutError:
                    pass
        except OSError:
            pass
    assert 0.9 < time.monotonic() - start < 1 + SLACK_S
    assert last_record(server)["reason"] == "Timer_HeaderWait"


def test_an_idle_connection(make, transport):
    server = make(ONE_SITE + "limits.idle_timeout = 1s\nlimits.header_timeout = 60s\n", files={"a.txt": "a"}, transport=transport)
    for asked in (0, 1):
        with server.connect() as connection:
            if asked:
                assert connection.request("/a.txt").status == 200
            took, said = timed_end(connection)
            assert 0.9 < took < 1 + SLACK_S and said == b""


def test_a_body_that_stops(make, transport):
    server = make(ONE_SITE + JSON_LOG + "limits.body_timeout = 1s\n", files={"a.txt": "a"}, transport=transport)
    with server.connect() as connection:
        connection.send("GET /a.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
        took, _ = timed_end(connection)
        assert took < 1 + SLACK_S
    wait_until(lambda: "Timer_EntityBody" in [r["reason"] for r in server.records()], what="a record of it")


def test_a_client_that_does_not_read(make, transport):
    server = make(ONE_SITE + JSON_LOG + "limits.send_rate_min = 100000\nlimits.send_rate_window = 1s\n", files={"big.bin": b"x" * (32 << 20)},
                  transport=transport)
    with server.connect() as connection:
        connection.send("GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n")
        records = server.wait_records(1, seconds=8)
        assert records[-1]["reason"] == "Timer_MinBytesPerSecond"
    wait_until(lambda: server.counter("connections_open") <= 1)


@pytest.fixture
def many_descriptors():
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit[1], limit[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limit)


def test_many_who_read_too_slowly_are_all_closed_and_recorded(make, transport, many_descriptors):
    """10 bytes a second each; 5,000 of them in the long form. Whoever reads as he should is served beside them."""
    count = 5000 if LONG else 50
    server = make(ONE_SITE + JSON_LOG + "limits.send_rate_min = 1000\nlimits.send_rate_window = 2s\ncache.entry_max = 16m\n",
                  files={"big.bin": b"x" * (8 << 20), "a.txt": "a"}, transport=transport)
    for _ in range(3):  # from then on out of the cache: no descriptor of a file for each of them
        assert len(server.fetch("/big.bin").body) == 8 << 20
    readers = []
    for _ in range(count):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", server.port))
        sock.sendall(b"GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sock.recv(12) == b"HTTP/1.1 200"  # so that no more files are asked for at once than wait to be opened
        readers.append(sock)

    def slow():
        return [record["reason"] for record in server.records() if record["path"] == "/big.bin"][3:]

    def all_have_a_record():
        for reader in readers:
            with contextlib.suppress(ConnectionError):
                reader.recv(10)
        assert server.fetch("/a.txt").status == 200
        return len(slow()) >= count
    wait_until(all_have_a_record, 60, what="a record of each", every=1)
    wait_until(lambda: server.counter("connections_open") <= 1, what="all are closed")
    assert slow() == ["Timer_MinBytesPerSecond"] * count
    for reader in readers:
        reader.close()


def test_a_client_that_reads_slowly_but_fast_enough_gets_all(make, transport):
    """The kernel takes megabytes in advance and then nothing for long: what counts is what the client takes."""
    body = b"x" * (32 << 20)
    server = make(ONE_SITE + JSON_LOG + "limits.send_rate_min = 4k\nlimits.send_rate_window = 1s\n", files={"big.bin": body}, transport=transport)
    with server.connect() as connection:
        connection.send("GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n")
        for _ in range(20):
            connection.fill()
            time.sleep(0.25)  # the client's own pace
        assert connection.read_response().body == body
    assert server.wait_records(1)[-1]["reason"] == "-"


def test_a_timeout_changes_live(make):
    server = make(ONE_SITE + "limits.idle_timeout = 60s\n", files={"a.txt": "a"})
    with server.connect() as connection:
        assert connection.request("/a.txt").status == 200
        server.sysctl(limits__idle_timeout="500ms")
        assert connection.request("/a.txt").status == 200  # armed anew with this answer
        took, _ = timed_end(connection)
        assert took < 0.5 + SLACK_S


TWO_SITES = "".join(f"site.{name}.hosts = {name}.example\nsite.{name}.root = {{WWW}}\n" for name in ("quick", "slow"))


def is_open(connection, host):
    return connection.request("/a.txt", host=host).status == 200


def test_a_site_has_its_own_patience_for_the_next_request(make, transport):
    """The whole server's patience is a minute and more, longer than timed_end() waits: what ends, ends by the site's."""
    server = make(ONE_SITE + JSON_LOG + TWO_SITES + "site.quick.limits.idle_timeout = 1s\n", files={"a.txt": "a"}, transport=transport)
    with server.connect() as quick, server.connect() as slow:
        for _ in range(3):  # from the file, then from the cache, which asks for no site
            assert is_open(quick, "quick.example") and is_open(slow, "slow.example")
        assert timed_end(quick)[1] == b"" and is_open(slow, "slow.example")
        server.sysctl(site__slow__limits__idle_timeout="1s", site__quick__limits__idle_timeout="60s")  # live
        with server.connect() as again:
            assert is_open(again, "quick.example") and is_open(slow, "slow.example")
            assert timed_end(slow)[1] == b"" and is_open(again, "quick.example")
    assert server.settled_records()[-1]["cache"] == "hit"  # nothing that is kept went for it


def test_a_site_has_its_own_patience_for_bodies_and_readers(make, transport):
    server = make(ONE_SITE + JSON_LOG + TWO_SITES + "limits.send_rate_min = 0\nlimits.send_rate_window = 1s\nsite.quick.limits.body_timeout = 500ms\n"
                  "site.quick.limits.send_rate_min = 1000000\n", files={"a.txt": "a", "big.bin": b"x" * (32 << 20)}, transport=transport)
    stops = "GET /a.txt HTTP/1.1\r\nHost: {}.example\r\nContent-Length: 1000\r\n\r\nabc"
    with server.connect() as quick, server.connect() as slow, server.connect() as reads, server.connect() as rests:
        quick.send(stops.format("quick"))
        slow.send(stops.format("slow"))
        rests.send("GET /big.bin HTTP/1.1\r\nHost: slow.example\r\n\r\n")
        reads.send("GET /big.bin HTTP/1.1\r\nHost: quick.example\r\n\r\n")
        timed_end(quick)
        wait_until(lambda: "Timer_MinBytesPerSecond" in [r["reason"] for r in server.records()], seconds=8, what="a record of the slow reader")
        slow.send(b"x" * 997)
        assert slow.read_response().status == 200 and is_open(slow, "slow.example")
        assert len(rests.read_response().body) == 32 << 20
    assert [r["reason"] for r in server.settled_records()].count("Timer_MinBytesPerSecond") == 1


def test_a_site_has_its_own_limit_of_ranges(make):
    server = make(ONE_SITE + TWO_SITES + "site.quick.limits.ranges = 0\n", files={"a.txt": "0123456789"})
    for _ in range(3):
        asked = [server.fetch("/a.txt", host=f"{site}.example", fields=["Range: bytes=1-2"]).status for site in ("quick", "slow")]
        assert asked == [200, 206]
        server.fetch("/a.txt", host="quick.example")
    server.sysctl(site__quick__limits__ranges="1")
    assert server.fetch("/a.txt", host="quick.example", fields=["Range: bytes=1-2"]).status == 206


# --- connections -----------------------------------------------------------------------------


def greet(connection):
    """What a fresh connection is told to one request: the status, or None where it ends without an answer."""
    try:
        connection.send("GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n")
        return connection.read_response().status
    except (Closed, OSError):
        return None


def open_by_eight(server, each):
    """Eight openers at once, `each` so many connections: those that are served, and those that are not."""
    held, refused, lock = [], [], threading.Lock()

    def open_some():
        for _ in range(each):
            connection = server.connect()
            status = greet(connection)
            with lock:
                (held if status == 200 else refused).append(connection)

    threads = [threading.Thread(target=open_some) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return held, refused


def test_the_number_of_connections_is_exact(make, transport):
    server = make(ONE_SITE + JSON_LOG + "limits.connections = 20\n", files={"a.txt": "a"}, transport=transport)
    wait_until(lambda: server.counter("connections_open") == 0)
    held = [server.connect() for _ in range(20)]
    assert [greet(c) for c in held] == [200] * 20
    for _ in range(5):
        with server.connect() as extra:
            response = extra.read_response() if extra.fill() else None
            assert response and response.status == 503
            assert extra.at_end()
    assert [greet(c) for c in held] == [200] * 20
    held.pop().close()
    wait_until(lambda: server.counter("connections_open") == 19)
    with server.connect() as again:
        assert greet(again) == 200
    for connection in held:
        connection.close()
    wait_until(lambda: "ConnLimit" in [r["reason"] for r in server.records()], what="a record of a refusal")


def test_the_number_of_connections_is_exact_under_eight_openers(make, transport):
    server = make(ONE_SITE + "limits.connections = 50\n", files={"a.txt": "a"}, transport=transport)
    wait_until(lambda: server.counter("connections_open") == 0)
    held, refused = open_by_eight(server, 20)
    assert (len(held), len(refused)) == (50, 110)
    for connection in held + refused:
        connection.close()


def test_the_number_of_connections_of_one_address(make, transport):
    server = make(ONE_SITE + JSON_LOG + "limits.connections_per_client = 5\n", files={"a.txt": "a"}, transport=transport)
    wait_until(lambda: server.counter("connections_open") == 0)
    count = len(server.settled_records())
    held = [server.connect(source="127.0.0.2") for _ in range(5)]
    assert [greet(c) for c in held] == [200] * 5
    for _ in range(3):
        with server.connect(source="127.0.0.2") as sixth:
            response = sixth.read_response()
            assert (response.status, response["connection"], sixth.at_end()) == (503, "close", True)
    with server.connect(source="127.0.0.3") as other:
        assert greet(other) == 200
    held.pop().close()
    wait_until(lambda: server.counter("connections_open") == 4)
    with server.connect(source="127.0.0.2") as again:
        assert greet(again) == 200
        with server.connect(source="127.0.0.2") as sixth:
            assert sixth.read_response().status == 503
    for connection in held:
        connection.close()
    assert sub_statuses(server.settled_records()[count:]) == ["200.0"] * 5 + ["503.22"] * 3 + ["200.0"] * 2 + ["503.22"]


def test_who_is_there_counts_when_the_limit_of_one_address_comes(make, transport):
    server = make(ONE_SITE, files={"a.txt": "a"}, transport=transport)
    held = [server.connect(source="127.0.0.2") for _ in range(3)]
    assert [greet(c) for c in held] == [200] * 3
    server.sysctl(limits__connections_per_client=4)
    held.append(server.connect(source="127.0.0.2"))
    assert greet(held[-1]) == 200
    with server.connect(source="127.0.0.2") as fifth:
        assert fifth.read_response().status == 503
    open_now = server.counter("connections_open")
    held.pop(0).close()  # of those who were there before
    wait_until(lambda: server.counter("connections_open") < open_now)
    with server.connect(source="127.0.0.2") as again:
        assert greet(again) == 200
    for connection in held:
        connection.close()


def test_thousands_of_idle_connections(make, transport):
    server = make(files={"a.txt": "a"}, transport=transport)
    held = []
    try:
        for number in range(3000):
            held.append(Connection(server.port, source=f"127.0.0.{2 + number % 3}"))
        assert greet(held[0]) == 200 and greet(held[-1]) == 200
        wait_until(lambda: server.counter("connections_open") >= 3000)
    finally:
        for connection in held:
            connection.close()
    wait_until(lambda: server.counter("connections_open") <= 1, what="all are gone")


def test_a_reset_frees_the_connection(make, transport):
    server = make(files={"big.bin": b"x" * (8 << 20)}, transport=transport)
    for _ in range(50):
        connection = server.connect()
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        connection.send("GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.fill()
        connection.close()
    wait_until(lambda: server.counter("connections_open") == 0, what="all are gone")
