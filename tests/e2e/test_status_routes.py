"""Routes whose handler is status: each status that may be configured, by its own reason phrase, its own record and the site's error pages."""
import re
from http import HTTPStatus

import pytest

from http_client import Connection, wait_until
from instance import JSON_LOG, ONE_SITE, free_port, sub_statuses

ALLOWED = [status for status in (*range(200, 300), *range(400, 600)) if status not in (205, 206, 407, 426)]
# RFC 9110's words where Python's table has older ones, and those that it does not have.
PHRASES = {status.value: status.phrase for status in HTTPStatus} | {
    413: "Content Too Large", 414: "URI Too Long", 416: "Range Not Satisfiable", 422: "Unprocessable Content", 451: "Unavailable For Legal Reasons"}


def route(status):
    text = f"site.main.route.s{status}.prefix = /{status}/\nsite.main.route.s{status}.handler = status\nsite.main.route.s{status}.status = {status}\n"
    return text + (f"site.main.route.s{status}.header.WWW-Authenticate = Basic\n" if status == 401 else "")


def test_every_status_that_may_be_configured_is_answered_and_told_as_configured(make, transport):
    server = make(ONE_SITE + JSON_LOG + "".join(map(route, ALLOWED)), transport=transport)
    with Connection(server.port) as connection:
        for status in ALLOWED:
            response = connection.request(f"/{status}/x")
            assert (response.status, response.reason) == (status, PHRASES.get(status, "")), status
            assert response.body == b"" if status == 204 else f"<h1>{status} {PHRASES.get(status, '')}</h1>".encode() in response.body
            assert response.get("www-authenticate") == ("Basic" if status == 401 else None)
    records = server.wait_records(len(ALLOWED))
    assert [(record["status"], record["substatus"], record["reason"], record["cache"]) for record in records] == [
        (status, 90, "Configured", "not-static") for status in ALLOWED]


def test_a_configured_status_has_the_error_pages_of_its_site(make):
    server = make(ONE_SITE + JSON_LOG + "site.main.error_page.451 = /e/law.html\nsite.main.error_page.503_90 = /e/later.html\nsite.main.error_page.503 = /e/other.html\n" +
                  "site.main.error_page.401 = /e/who.html\n" + "".join(map(route, (451, 503, 409, 401))),
                  files={"e/law.html": "law", "e/later.html": "later", "e/other.html": "other", "e/who.html": "who"})
    for _ in range(4):  # from the file, then from the cache
        for status, body in ((451, b"law"), (503, b"later")):
            response = server.fetch(f"/{status}/")
            assert (response.status, response.reason, response.body) == (status, PHRASES[status], body)
            head = server.fetch(f"/{status}/", method="HEAD", fields=["If-None-Match: *", "Range: bytes=0-0"])
            assert (head.status, head["content-length"]) == (status, str(len(body)))
    response = server.fetch("/401/")
    assert (response.status, response.body, response["www-authenticate"]) == (401, b"who", "Basic")  # the challenge is the route's
    assert server.fetch("/409/").body.startswith(b"<!doctype html>")
    assert {(record["status"], record["substatus"]) for record in server.wait_records(18)} == {(451, 90), (503, 90), (401, 90), (409, 90)}


def test_an_error_page_may_be_at_another_url(make, transport):
    """The client is led there; the log tells of what it was led away from, for one cause or all of a status."""
    server = make(ONE_SITE + JSON_LOG + "site.main.error_page.404 = https://help.example/lost?from=here\nsite.main.error_page.404_8 = /e/hidden.html\n"
                  "site.main.error_page.503_90 = http://help.example\nsite.main.error_page.405 = https://help.example/method\n" + "".join(map(route, (410, 503))),
                  files={"e/hidden.html": "hidden", "a.txt": "a"}, transport=transport)
    with Connection(server.port) as connection:
        for target, method, location in (("/none", "GET", "https://help.example/lost?from=here"), ("/none", "HEAD", "https://help.example/lost?from=here"),
                                         ("/503/", "GET", "http://help.example"), ("/a.txt", "DELETE", "https://help.example/method")):
            response = connection.request(target, method=method, fields=["If-None-Match: *", "Range: bytes=0-1"])
            assert (response.status, response.reason, response["location"], response.body == b"") == (302, "Found", location, method == "HEAD")
            assert response.get("retry-after") is None and response.get("allow") is None
        for target, status, body in (("/.hidden", 404, b"hidden"), ("/410/", 410, b"<h1>410 Gone</h1>"), ("/a.txt", 200, b"a")):
            response = connection.request(target)
            assert response.status == status and body in response.body and response.get("location") is None
    assert sub_statuses(server.wait_records(7)) == ["404.0", "404.0", "503.90", "405.0", "404.8", "410.90", "200.0"]
    for value in ("ftp://help.example/", "https://", "https://a.example@help.example/", "https://help.example/a b"):
        refused = server.cli("sysctl", "-w", f"site.main.error_page.404={value}", check=False)
        assert refused.returncode == 2 and "site.main.error_page.404" in refused.stderr
    server.sysctl(site__main__error_page__404="http://elsewhere.example/")
    assert server.fetch("/none")["location"] == "http://elsewhere.example/", "live"


def test_details_of_an_error_are_told_to_whom_the_site_says(make, transport):
    """VH8: the page tells what the record has. Local are clients of this machine that no proxy speaks for; all others have the site's pages and the plain one."""
    text = (ONE_SITE + JSON_LOG + "site.main.error_page.404 = /e/404.html\nsite.main.error_page.405 = https://help.example/\n" + route(410) +
            "server.trusted_proxies = 127.0.0.5\nserver.proxy_protocol = 127.0.0.7\n").replace("x-timestamp", "x-timestamp x-reactor x-seq-start x-reason-name")
    server = make(text, start=False, listen=False, files={"e/404.html": "our own page", "a.txt": "a"}, transport=transport)
    server.port, path = free_port(), str(server.run / "web")
    server.base += f"server.listen = 127.0.0.1:{server.port} [::1]:{server.port} unix:{path}\n"
    server.write_config(text)
    server.start()
    here = [(address, None, b"", []) for address in (("::1", server.port), path, server.port)] + [(server.port, "127.9.9.9", b"", [])]
    others = [(server.port, "127.0.0.5", b"", [field]) for field in ("X-Forwarded-For: 192.0.2.1", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-For: unknown", "X-None: 1")]
    others += [(server.port, None, b"", [field]) for field in ("X-Forwarded-For: 127.0.0.1", "Forwarded: for=127.0.0.1", "Via: 1.1 a", "X-Forwarded-Proto: http")]
    others += [(server.port, "127.0.0.7", line, []) for line in (b"PROXY TCP4 192.0.2.9 192.0.2.1 9 80\r\n", b"PROXY UNKNOWN\r\n")]

    def ask(client, target, method="GET"):
        address, source, first, fields = client
        with Connection(address, source=source) as connection:
            connection.sock.sendall(first)
            return connection.request(target, method=method, fields=fields)

    def is_plain(client):
        gone, none, method = ask(client, "/410/"), ask(client, "/%3cnone%3e"), ask(client, "/a.txt", "DELETE")
        return b"<body><h1>410 Gone</h1></body>" in gone.body and (none.status, none.body) == (404, b"our own page") and (method.status, method["location"]) == (302, "https://help.example/")

    def recorded(reactor, number):
        found = [r for r in server.records() if (r["reactor"], r["seq_start"]) == (int(reactor), int(number))]
        return found[0] if found else None
    assert all(is_plain(client) for client in here), "nobody is told where the site says nothing"
    server.sysctl(site__main__error_details="local")
    assert [client for client in others if not is_plain(client)] == []
    for told in (here, others):
        for client in told:
            for target, method, status in (("/410/", "GET", 410), ("/%3cnone%3e", "GET", 404), ("/a.txt", "DELETE", 405)):
                response = ask(client, target, method)
                found = re.search(rb"<p>(\S+) (\S+): [^<]+</p>\n<p>(\w+); reactor (\d+), request (\d+)</p>\n</body>", response.body)
                assert response.status == status and found and b"none" not in response.body and response.get("location") is None, (client, response.body)
                record = wait_until(lambda place=found.group(4, 5): recorded(*place), what="its record")
                assert [word.decode() for word in found.group(1, 2, 3)] == [f"{record['status']}.{record['substatus']}", record["reason"], record["reason_name"]]
            assert ask(client, "/none", "HEAD").body == b""
        server.sysctl(site__main__error_details="all")
    server.sysctl(site__main__error_details="none")
    assert is_plain(here[0]), "live"


@pytest.mark.parametrize("status", [199, 205, 206, 304, 407, 426])
def test_a_status_that_cannot_stand_alone_changes_nothing(make, status):
    server = make(ONE_SITE + route(410))
    refused = server.cli("sysctl", "-w", f"site.main.route.s410.status={status}", check=False)
    assert refused.returncode == 2 and "site.main.route.s410.status" in refused.stderr and f"got {status}" in refused.stderr
    assert server.fetch("/410/").status == 410


def test_what_no_handler_is_for_what_may_not_be_executed_and_what_has_no_known_type(make):
    """VH5: 404.4, 403 and 404.3."""
    server = make(ONE_SITE + JSON_LOG + "site.main.route.cgi.prefix = /cgi\nsite.main.route.cgi.handler = pool\nsite.main.route.cgi.pool = scripts\n"
                  "pool.scripts.runtime = cgi\npool.scripts.app = {WWW}/cgi/\npool.scripts.interpreter.sh = /bin/sh\n"
                  "site.main.route.bin.prefix = /bin\nsite.main.route.bin.handler = pool\nsite.main.route.bin.pool = programs\n"
                  "pool.programs.runtime = cgi\npool.programs.app = {WWW}/cgi/\n"
                  "site.main.route.typed.prefix = /typed\nsite.main.route.typed.unknown_type = deny\n",
                  files={"cgi/x.sh": "echo Content-Type: text/plain; echo; echo it ran\n", "cgi/x.txt": "not a script\n",
                         "typed/a.txt": "text\n", "typed/a.strange": "secret\n"})
    with Connection(server.port) as connection:
        assert connection.request("/cgi/x.txt").status == 404
        assert connection.request("/cgi/").status == 404
        assert connection.request("/cgi/none.sh").status == 404, "the pool says so: it might be there"
        assert connection.request("/cgi/x.sh/more").body == b"it ran\n"
        for method in ("GET", "POST"):  # it is no program, and its source is nobody's business
            refused = connection.request("/bin/x.sh", method, fields=["Content-Length: 0"])
            assert refused.status == 403 and b"echo" not in refused.body
        assert connection.request("/typed/a.txt").body == b"text\n"
        unknown = connection.request("/typed/a.strange")
        assert unknown.status == 404 and b"secret" not in unknown.body
    assert sub_statuses(server.wait_records(8)) == ["404.4", "404.4", "404.0", "200.0", "403.0", "403.0", "200.0", "404.3"]
