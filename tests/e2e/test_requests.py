"""Issue §5: methods, keep-alive, pipelining, bodies, Expect, and answers that reach the client."""
import re
import socket
import time

import pytest
from http_client import wait_until
from instance import JSON_LOG, ONE_SITE, QUICK, sub_statuses

FILES = {"a.txt": "a" * 10, "numbers.txt": "0123456789" * 100}
for number in range(10):
    FILES[f"n/{number}.txt"] = f"this is {number}\n"
CONFIG = "limits.body_bytes = 1000000\nlimits.drain_bytes = 64k\n"


def prepare(instance):
    instance.put("empty.txt", b"")
    instance.put("big.bin", bytes(range(256)) * 8192)


def test_a_hundred_pipelined_requests_are_answered_in_order(site):
    with site.connect() as connection:
        connection.send(b"".join(b"GET /n/%d.txt HTTP/1.1\r\nHost: x\r\n\r\n" % (n * 7 % 10) for n in range(100)))
        for n in range(100):
            assert connection.read_response().body == b"this is %d\n" % (n * 7 % 10)


def test_pipelined_requests_of_all_kinds_keep_their_order(site):
    """Cached, uncached, absent, refused by method, with bodies: nobody overtakes."""
    kinds = [("GET", "/n/1.txt", "", 200), ("HEAD", "/big.bin", "", 200), ("GET", "/none", "", 404), ("POST", "/n/1.txt", "abc", 405),
             ("GET", "/big.bin", "", 200), ("GET", "/n/2.txt", "", 200), ("BREW", "/n/1.txt", "", 501)]
    for repeat in range(5):
        with site.connect() as connection:
            for method, target, body, _ in kinds * 4:
                connection.send(f"{method} {target} HTTP/1.1\r\nHost: x\r\n" + (f"Content-Length: {len(body)}\r\n" if body else "") + "\r\n" + body)
            assert [connection.read_response(method).status for method, *_ in kinds * 4] == [status for *_, status in kinds * 4]


def test_a_connection_serves_many_requests(site):
    with site.connect() as connection:
        for _ in range(300):
            assert connection.request("/a.txt").body == b"a" * 10


def test_connection_close_is_obeyed(site):
    with site.connect() as connection:
        response = connection.request("/a.txt", fields=["Connection: close"])
        assert response.status == 200 and response["connection"].lower() == "close"
        assert connection.at_end()


def test_the_last_answer_survives_what_nobody_reads(site):
    """A close with bytes unread is an RST: the answer is on its way before."""
    for _ in range(20):
        with site.connect() as connection:
            connection.send(b"GET /a.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" + b"x" * 20_000)
            assert connection.read_response().body == b"a" * 10


def test_close_in_a_list_of_options_is_obeyed(site):
    with site.connect() as connection:
        assert connection.request("/a.txt", fields=["Connection: x, CLOSE"]).status == 200
        assert connection.at_end()


def test_http_1_0_closes_unless_it_asks_to_stay(site):
    with site.connect() as connection:
        response = connection.request("/a.txt", version="HTTP/1.0", host=None)
        assert response.status == 200 and response.body == b"a" * 10 and connection.at_end()
    with site.connect() as connection:
        for _ in range(3):
            response = connection.request("/a.txt", version="HTTP/1.0", fields=["Connection: keep-alive"])
            assert response.status == 200 and response["connection"].lower() == "keep-alive"


def test_head_has_the_fields_of_get_and_no_body(site):
    for target in ("/a.txt", "/big.bin", "/empty.txt", "/none", "/n"):
        with site.connect() as connection:
            get, head = connection.request(target), connection.request(target, "HEAD")
            assert head.status == get.status and head.body == b""
            assert [f for f in head.fields if f[0] != "Date"] == [f for f in get.fields if f[0] != "Date"]
            assert connection.request("/a.txt").body == b"a" * 10


def allowed(response):
    return {method.strip() for method in response["allow"].split(",")}


def test_options_says_what_is_allowed(site):
    for target in ("/a.txt", "*"):
        response = site.fetch(target, method="OPTIONS")
        assert response.status in (200, 204) and {"GET", "HEAD", "OPTIONS"} <= allowed(response)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE"])
def test_a_known_method_that_is_not_allowed_is_405_with_allow(site, method):
    with site.connect() as connection:
        response = connection.request("/a.txt", method)
        assert response.status == 405 and allowed(response) == {"GET", "HEAD", "OPTIONS"}
        assert connection.request("/a.txt").status == 200


@pytest.mark.parametrize("method", ["BREW", "get", "X-Y!"])
def test_an_unknown_method_is_501(site, method):
    assert site.fetch("/a.txt", method=method).status == 501


def test_connect_is_refused(site):
    assert site.fetch("x.example:443", method="CONNECT").status in (405, 501)


def test_trace_does_not_echo(site):
    assert b"secret-cookie" not in site.fetch("/a.txt", method="TRACE", fields=["Cookie: secret-cookie"]).body


@pytest.mark.parametrize("size", [0, 1, 1000, 60000])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_is_drained_and_the_connection_lives(site, size, chunked):
    body = b"GET /smuggled HTTP/1.1\r\n"[:size].ljust(size, b"x")
    with site.connect() as connection:
        if chunked:
            pieces = [body[i:i + 777] for i in range(0, size, 777)]
            data = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"
            response = connection.request("/a.txt", "POST", fields=["Transfer-Encoding: chunked"], body=data)
        else:
            response = connection.request("/a.txt", "POST", fields=[f"Content-Length: {size}"], body=body)
        assert response.status == 405
        assert connection.request("/n/3.txt").body == b"this is 3\n"


def answer_to_expect(connection, body):
    """The final answer; the body is sent only if the server asks for it."""
    response = connection.read_response()
    if response.status != 100:
        return response
    connection.send(body)
    return connection.read_response()


def test_expect_100_is_answered_at_once(site):
    """Either 100 and then the answer, or the final answer without waiting for the body (RFC 9110 §10.1.1)."""
    with site.connect() as connection:
        connection.send("POST /a.txt HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        response = answer_to_expect(connection, "abc")
        assert response.status == 405


def test_expect_100_on_a_request_that_is_served(site):
    with site.connect() as connection:
        connection.send("GET /a.txt HTTP/1.1\r\nHost: x\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\n")
        response = answer_to_expect(connection, "abc")
        assert response.status == 200 and response.body == b"a" * 10


def test_an_expectation_that_nobody_knows_is_417(site):
    assert site.fetch("/a.txt", fields=["Expect: miracles"]).status == 417


def test_a_body_over_the_limit_is_413(site):
    assert site.fetch("/a.txt", fields=["Content-Length: 1000001"]).status == 413


def test_a_chunked_request_has_one_answer_whatever_becomes_of_its_body(make, transport):
    """Bad framing is told by the matrix of test_strict. The answer waits for the end of the body, but for no more of it than is drained."""
    server = make(ONE_SITE + JSON_LOG + "limits.body_bytes = 1000\nlimits.drain_bytes = 500\nlimits.body_timeout = 500ms\n", files={"a.txt": "a"}, transport=transport)
    chunk = b"%x\r\n%s\r\n"
    over_limit, over_drain, half = chunk % (1001, b"x" * 1001), chunk % (501, b"x" * 501), b"3\r\nab"
    rows = [  # line, body, the client's end afterwards, answer
        (b"GET", over_limit, False, "413.0"), (b"POST", over_limit, False, "413.0"), (b"GET", over_drain, False, "200.0"), (b"POST", over_drain, False, "405.0"),
        (b"GET", half, False, "408.2"), (b"POST", half, False, "408.2"), (b"GET", half, True, "400.52"), (b"POST", half, True, "400.52"),
        (b"GET", b"0\r\n", True, "400.52"), (b"GET", chunk % (3, b"abc") + b"0\r\n\r\n", True, "200.0")]
    for method, body, ends, wanted in rows:
        with server.connect() as connection:
            connection.send(method + b" /a.txt HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
            if ends:
                connection.sock.shutdown(socket.SHUT_WR)
            assert connection.read_response().status == int(wanted[:3]), wanted
            assert connection.at_end(), wanted
    assert sub_statuses(server.settled_records()) == [wanted for *_, wanted in rows]


@pytest.mark.parametrize("end", [" HTTP/1.0\r\n\r\n", " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"], ids=["1.0", "close"])
@pytest.mark.parametrize("target, status", [("/n/", 403), ("/none", 404), ("/%zz", 400)])
def test_a_refusal_is_safe_from_a_client_that_sends_more_than_it_promised(site, target, status, end):
    """It said that this is its last request, and goes on: were its bytes answered by a reset, that could take the refusal along."""
    with site.connect() as connection:
        connection.send(f"GET {target}{end}")
        assert connection.read_response().status == status and connection.at_end()
        for _ in range(3):
            connection.send("more")  # on loopback a reset comes before this returns, and the next one fails


def test_413_reaches_a_client_that_has_not_read_yet(site):
    """The upload goes on for a while after the refusal: a plain close would be a reset and lose the answer."""
    body = b"x" * (256 << 10)
    for run in range(50 if QUICK else 500):  # on two transports: 1,000 in all
        with site.connect() as connection:
            connection.send("GET /a.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 20000000\r\n\r\n")
            connection.send(body)
            assert connection.read_response().status == 413, run


def test_large_files_arrive_whole(site):
    body = bytes(range(256)) * 8192
    with site.connect() as connection:
        for _ in range(5):
            assert connection.request("/big.bin").body == body


def test_a_slow_reader_gets_every_byte(site):
    body = bytes(range(256)) * 8192
    with site.connect() as connection:
        connection.send("GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.take_until(b"\r\n\r\n")
        received = b""
        for _ in range(40):
            time.sleep(0.005)
            received += connection.sock.recv(16384) if not connection.buffer else connection.take(len(connection.buffer))
        received += connection.take(len(body) - len(received))
        assert received == body


def test_an_empty_file_is_an_empty_answer(site):
    with site.connect() as connection:
        response = connection.request("/empty.txt")
        assert response.status == 200 and response["content-length"] == "0"
        assert connection.request("/a.txt").status == 200


def test_every_answer_has_the_date_and_a_length(site):
    for target in ("/a.txt", "/none", "/n"):
        response = site.fetch(target)
        assert re.fullmatch(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} \d\d:\d\d:\d\d GMT", response["date"])
        assert abs(time.time() - time.mktime(time.strptime(response["date"], "%a, %d %b %Y %H:%M:%S GMT")) + time.timezone) < 5
        assert response["content-length"].isdigit()


ALL_PATHS = [  # request, status: every way in which an answer is made
    ("GET /a.txt", 200), ("HEAD /a.txt", 200), ("GET /a.txt|Range: bytes=0-0", 206), ("GET /a.txt|Range: bytes=0-0,2-2", 206), ("GET /a.txt|Range: bytes=99-", 416),
    ("GET /a.txt|If-None-Match: *", 304), ("GET /a.txt|If-Match: x", 412), ("GET /a.txt|Accept-Encoding: *;q=0", 406), ("GET /n", 301), ("GET /n/", 403), ("GET /list/", 200),
    ("GET /to/x", 302), ("GET /gone/x", 410), ("GET /none", 404), ("GET /page/none", 404), ("OPTIONS /a.txt", 204), ("OPTIONS *", 204), ("POST /a.txt", 405), ("CONNECT x:80", 405), ("PURGE /a.txt", 405),
    ("BREW /a.txt", 501), ("GET /a.txt|Transfer-Encoding: x", 501), ("GET /a.txt|Expect: x", 417), ("GET /a.txt|Content-Length: 99", 413), ("GET /%zz", 400), ("GET /a.txt|A : b", 400),
    ("GET /a.txt?" + "q" * 99, 414), ("GET /" + "s" * 99, 414), ("GET /a.txt|A: " + "b" * 999, 431), ("GET /a.txt|Host: y", 400), ("PRI *", 400), ("GET /big.bin", 200)]


@pytest.mark.parametrize("mode, pattern", [("full", r"penstock/\S+"), ("product", "penstock"), ("none", None)])
def test_the_server_field_is_controlled_on_every_answer(make, mode, pattern):
    server = make(ONE_SITE + f"server.header = {mode}\nlimits.body_bytes = 10\nlimits.query_bytes = 20\nlimits.segment_bytes = 20\nlimits.field_bytes = 200\nlimits.header_timeout = 500ms\n"
                  "site.main.route.l.prefix = /list/\nsite.main.route.l.listing = 1\nsite.main.route.t.prefix = /to/\nsite.main.route.t.handler = redirect\nsite.main.route.t.to = /a.txt\n"
                  "site.main.route.g.prefix = /gone/\nsite.main.route.g.handler = status\nsite.main.route.g.status = 410\nsite.main.route.page.prefix = /page/\n"
                  "site.other.hosts = other.example\nsite.other.root = {WWW}\nsite.other.error_page.404 = /a.txt\n",
                  files={"a.txt": "a" * 10, "n/x": "x", "list/x": "x", "big.bin": b"x" * (5 << 20)})

    def check(response, what, status):
        assert response.status == status, what
        assert response.all("server") == [] if pattern is None else re.fullmatch(pattern, response["server"]), what
    for _ in range(3):  # from the file, then from the cache
        for what, status in ALL_PATHS:
            first, *fields = what.split("|")
            with server.connect() as connection:
                connection.send("\r\n".join([first + " HTTP/1.1", "Host: x", *fields, "", ""]))
                check(connection.read_response(first.partition(" ")[0]), what, status)
        check(server.fetch("/none", host="other.example"), "a page of the site", 404)
    with server.connect() as connection:
        connection.send("GET /")
        check(connection.read_response(), "a head that does not come", 408)
        server.sysctl(limits__connections=1)
        with server.connect() as other:
            check(other.read_response(), "one connection too many", 503)


def test_a_client_that_leaves_in_the_middle_harms_nobody(site):
    for cut in range(1, 60, 7):
        with site.connect() as connection:
            connection.send(b"GET /big.bin HTTP/1.1\r\nHost: x\r\nA: bbbbbbbbbbbbbbbbbbbbbbbbb\r\n\r\n"[:cut])
    for _ in range(20):
        with site.connect() as connection:
            connection.send("GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n")
            connection.fill()
    assert site.fetch("/a.txt").status == 200
    wait_until(lambda: site.counter("connections_open") <= 1, what="no connection is left over")
