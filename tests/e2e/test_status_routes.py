"""Routes whose handler is status: each status that may be configured, by its own reason phrase, its own record and the site's error pages."""
from http import HTTPStatus

import pytest

from http_client import Connection
from instance import JSON_LOG, ONE_SITE, sub_statuses

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


@pytest.mark.parametrize("status", [199, 205, 206, 304, 407, 426])
def test_a_status_that_cannot_stand_alone_changes_nothing(make, status):
    server = make(ONE_SITE + route(410))
    refused = server.cli("sysctl", "-w", f"site.main.route.s410.status={status}", check=False)
    assert refused.returncode == 2 and "site.main.route.s410.status" in refused.stderr and f"got {status}" in refused.stderr
    assert server.fetch("/410/").status == 410


def test_a_path_that_no_interpreter_is_for_has_no_handler(make):
    server = make(ONE_SITE + JSON_LOG + "site.main.route.cgi.prefix = /cgi\nsite.main.route.cgi.handler = pool\nsite.main.route.cgi.pool = scripts\n"
                  "pool.scripts.runtime = cgi\npool.scripts.app = {WWW}/cgi/\npool.scripts.interpreter.sh = /bin/sh\n",
                  files={"cgi/x.sh": "echo Content-Type: text/plain; echo; echo it ran\n", "cgi/x.txt": "not a script\n"})
    with Connection(server.port) as connection:
        assert connection.request("/cgi/x.txt").status == 404
        assert connection.request("/cgi/").status == 404
        assert connection.request("/cgi/none.sh").status == 404, "the pool says so: it might be there"
        assert connection.request("/cgi/x.sh/more").body == b"it ran\n"
    assert sub_statuses(server.wait_records(4)) == ["404.4", "404.4", "404.0", "200.0"]
