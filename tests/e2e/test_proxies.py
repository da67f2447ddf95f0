"""RD14: who sent a request is what a trusted proxy says, and nothing that anybody else says."""
import pytest
from demo import needs_pools
from http_client import Closed
from instance import JSON_LOG, ONE_SITE

PROXY = "127.0.0.2"
CLIENT = "203.0.113.9"
TRUSTING = f"server.trusted_proxies = {PROXY} 198.51.100.0/24\n"


@pytest.fixture
def server(make, transport):
    return make(ONE_SITE + JSON_LOG + TRUSTING, files={"a.txt": "a"}, transport=transport)


def seen(server, *fields, source=PROXY, method="GET"):
    """(status, client address in the log) of one request."""
    count = len(server.settled_records())
    with server.connect(source=source) as connection:
        status = connection.request("/a.txt", method, fields=fields).status
    return status, server.wait_records(count + 1)[-1]["client_ip"]


def test_the_log_has_the_client_that_a_trusted_proxy_names(server):
    assert seen(server) == (200, PROXY)
    assert seen(server, f"X-Forwarded-For: {CLIENT}") == (200, CLIENT)
    assert seen(server, f"X-Forwarded-For: {CLIENT}, 198.51.100.7") == (200, CLIENT), "one trusted proxy behind another"
    assert seen(server, f"X-Forwarded-For: {CLIENT}", "X-Forwarded-For: 198.51.100.7") == (200, CLIENT)
    assert seen(server, "X-Forwarded-For: [2001:db8::1]:4711") == (200, "2001:db8::1")


def test_each_request_of_a_connection_has_its_own_client(server):
    with server.connect(source=PROXY) as connection:
        for client in (CLIENT, "192.0.2.1"):
            assert connection.request("/a.txt", fields=[f"X-Forwarded-For: {client}"]).status == 200
        assert connection.request("/a.txt").status == 200
    assert [r["client_ip"] for r in server.wait_records(3)] == [CLIENT, "192.0.2.1", PROXY]


def test_what_others_say_is_not_taken(server):
    assert seen(server, f"X-Forwarded-For: {CLIENT}", source="127.0.0.3") == (200, "127.0.0.3")
    assert seen(server, f"X-Forwarded-For: 192.0.2.1, {CLIENT}") == (200, CLIENT), "the client itself wrote what is left of it"
    assert seen(server, f"X-Forwarded-For: 192.0.2.1, unknown, 198.51.100.7") == (200, "198.51.100.7")
    assert seen(server, f"Forwarded: for={CLIENT}") == (200, PROXY), "only one header is believed"


def test_forwarded_where_that_is_the_header(server):
    server.sysctl(server__client_header="forwarded")
    assert seen(server, f"Forwarded: for={CLIENT};proto=https", "X-Forwarded-For: 192.0.2.1") == (200, CLIENT)
    assert seen(server, f'Forwarded: for=192.0.2.1;x=", for={CLIENT}') == (200, CLIENT)
    server.sysctl(server__trusted_proxies="")
    assert seen(server, f"Forwarded: for={CLIENT}") == (200, PROXY)


def test_who_may_purge_is_the_client_and_not_the_proxy(server):
    server.sysctl(site__main__purge_from=f"{PROXY} 192.0.2.1")
    assert seen(server, method="PURGE")[0] == 200
    assert seen(server, f"X-Forwarded-For: {CLIENT}", method="PURGE") == (403, CLIENT)
    assert seen(server, "X-Forwarded-For: 192.0.2.1", method="PURGE") == (200, "192.0.2.1")
    assert seen(server, "X-Forwarded-For: 192.0.2.1", source="127.0.0.3", method="PURGE") == (403, "127.0.0.3")


def test_the_limit_on_connections_of_a_client_is_not_for_proxies(server):
    server.sysctl(limits__connections_per_client=2)
    held = [server.connect(source=PROXY) for _ in range(4)]
    assert [c.request("/a.txt").status for c in held] == [200] * 4
    for connection in held:
        connection.close()


CGI = """import os
print("Content-Type: text/plain\\n\\n" + os.environ["REMOTE_ADDR"] + " " + os.environ.get("REMOTE_PORT", "-"), end="")
"""


@needs_pools
def test_an_application_is_told_the_client(make):
    server = make(ONE_SITE + JSON_LOG + TRUSTING + "site.main.route.app.prefix = /app\nsite.main.route.app.handler = pool\n"
                  "site.main.route.app.pool = p\npool.p.runtime = cgi\npool.p.app = {WWW}/cgi/\npool.p.directory = {WWW}/cgi\n"
                  "pool.p.interpreter.py = /usr/bin/python3\n", files={"cgi/x.py": CGI})
    with server.connect(source=PROXY) as connection:
        assert connection.request("/app/x.py", fields=[f"X-Forwarded-For: {CLIENT}:4711"]).body.decode() == f"{CLIENT} 4711"
        assert connection.request("/app/x.py", fields=[f"X-Forwarded-For: {CLIENT}"]).body.decode() == f"{CLIENT} -"
    with server.connect(source="127.0.0.3") as connection:
        assert connection.request("/app/x.py", fields=[f"X-Forwarded-For: {CLIENT}"]).body.decode().startswith("127.0.0.3 ")


# --- the PROXY protocol ----------------------------------------------------------------------

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LINE = f"PROXY TCP4 {CLIENT} 198.51.100.7 4711 443\r\n".encode()
BINARY = SIGNATURE + bytes([0x21, 0x11, 0, 12, 203, 0, 113, 9, 198, 51, 100, 7, 0x12, 0x67, 1, 0xbb])
LOCAL = SIGNATURE + bytes([0x20, 0, 0, 0])


@pytest.fixture
def behind(make, transport):
    return make(ONE_SITE + JSON_LOG + f"server.proxy_protocol = {PROXY}\nlimits.header_timeout = 1s\n", files={"a.txt": "a"}, transport=transport)


def through(server, header, source=PROXY):
    """(status, or None where the connection was ended; client address in the log) of a request behind these bytes."""
    count = len(server.settled_records())
    with server.connect(source=source) as connection:
        connection.send(header)
        try:
            status = connection.request("/a.txt").status
        except (Closed, OSError):
            status = None
    return status, server.wait_records(count + 1)[-1]["client_ip"]


def test_a_header_of_the_proxy_protocol_says_who_the_client_is(behind):
    assert through(behind, LINE) == (200, CLIENT)
    assert through(behind, BINARY) == (200, CLIENT)
    assert through(behind, LOCAL) == (200, PROXY)
    with behind.connect(source=PROXY) as connection:
        connection.send(BINARY + b"GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.read_response().status == 200
        assert connection.request("/a.txt").status == 200, "for all of the connection"
    assert [r["client_ip"] for r in behind.settled_records()[-2:]] == [CLIENT] * 2


def test_a_header_of_the_proxy_protocol_is_only_taken_from_those_named(behind):
    assert through(behind, LINE, source="127.0.0.3")[0] == 400, "it is no request"
    assert through(behind, b"", source="127.0.0.3") == (200, "127.0.0.3")
    behind.sysctl(server__proxy_protocol="")
    assert through(behind, b"") == (200, PROXY)


def test_a_proxy_without_its_header_is_not_served(behind):
    assert through(behind, b"") == (None, PROXY)
    assert through(behind, LINE.replace(b"4711", b"99999")) == (None, PROXY)
    with behind.connect(source=PROXY) as late:
        late.send(LINE[:10])
        with pytest.raises((Closed, ConnectionResetError)):
            late.read_response()
    assert [r["reason"] for r in behind.wait_records(3)] == ["BadRequest", "BadRequest", "Timer_HeaderWait"]


def test_limits_are_for_the_client_that_the_header_names(behind):
    behind.sysctl(limits__connections_per_client=1)
    others = LINE.replace(CLIENT.encode(), b"192.0.2.1")
    with behind.connect(source=PROXY) as first, behind.connect(source=PROXY) as second, behind.connect(source=PROXY) as third:
        first.send(LINE)
        assert first.request("/a.txt").status == 200
        second.send(LINE)
        assert second.read_response().status == 503
        third.send(others)
        assert third.request("/a.txt").status == 200
