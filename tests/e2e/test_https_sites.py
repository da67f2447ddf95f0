"""Issue 5 §1, VH11: sites that are served over TLS only, and that tell browsers so; the same words on HTTP/1.1 and HTTP/2."""
import subprocess

import pytest
from demo import FEATURES
from http_client import Connection, fetch
from instance import JSON_LOG, ONE_SITE, free_port, make_pair

HTTP2 = FEATURES["http/2"]["available"]
YEAR = 365 * 24 * 3600


@pytest.fixture
def https(make, tmp_path):
    """build(more) → an instance with the site over http and over https."""
    def build(more="", **options):
        certificate, key = make_pair(tmp_path, "localhost")
        port = free_port()
        server = make(ONE_SITE + JSON_LOG + f"server.listen_tls = 127.0.0.1:{port}\nsite.main.tls.certificate = {certificate}\n"
                      f"site.main.tls.key = {key}\nhttp2.cleartext = {int(HTTP2)}\n" + more,
                      files={"a.txt": "a", ".well-known/acme-challenge/To-ken_1": "proof"}, **options)
        server.https, server.certificate = port, certificate
        return server
    return build


def curl(server, url, *more):
    """(status, fields with names in lower case, body) of the last answer."""
    done = subprocess.run(["curl", "-sS", "--max-time", "20", "--cacert", server.certificate, "-i", url, *more], capture_output=True,
                          check=True)
    heads, _, body = done.stdout.partition(b"\r\n\r\n")
    lines = heads.decode().split("\r\n")
    pairs = [line.split(": ", 1) for line in lines[1:]]
    assert len(pairs) == len({name.lower() for name, _ in pairs}), lines
    return int(lines[0].split()[1]), {name.lower(): value for name, value in pairs}, body


def test_who_comes_without_tls_is_sent_to_the_same_url_as_https(https):
    server = https("site.main.https_redirect = 308\n")
    there = f"https://localhost:{server.https}"
    with Connection(server.port) as client:
        for target, place in (("/a.txt?x=1&y", "/a.txt?x=1&y"), ("/", "/"), ("/?", "/?"), ("//other.example/%2e%2e/", "//other.example/%2e%2e/"),
                              (f"http://LOCALHOST:{server.port}/b", "/b"), ("http://localhost", "/")):
            answer = client.request(target, host=f"LocalHost.:{server.port}")
            assert (answer.status, answer["Location"]) == (308, there + place)
            assert b"308 Permanent Redirect" in answer.body
        assert client.request("/a.txt", method="HEAD", host="localhost").status == 308
        assert client.request("/a.txt", method="POST", host="localhost", fields=["Content-Length: 4"], body=b"form").status == 308
        assert client.request("/a.txt", method="DELETE", host="localhost", fields=["Connection: close"])["Connection"] == "close"
    assert {(r["status"], r["substatus"], r["cache"]) for r in server.wait_records(9)} == {(308, 1, "redirect")}
    if HTTP2:
        got = curl(server, f"http://localhost:{server.port}/a.txt", "--http2-prior-knowledge")
        assert (got[0], got[1]["location"]) == (308, there + "/a.txt")
    followed = subprocess.run(["curl", "-sSL", "--cacert", server.certificate, f"http://localhost:{server.port}/a.txt"], capture_output=True)
    assert followed.stdout == b"a"


def test_a_burst_of_requests_is_answered_in_one_go_and_each_has_its_record(https, transport):
    server = https("site.main.https_redirect = 301\n", transport=transport)
    with Connection(server.port) as client:
        for burst in (1, 2):
            before = server.counter("allocations")
            client.send("".join(f"GET /{n} HTTP/1.1\r\nHost: localhost\r\n\r\n" for n in range(200)))
            for n in range(200):
                answer = client.read_response()
                assert (answer.status, answer["Location"]) == (301, f"https://localhost:{server.https}/{n}")
            assert {record["substatus"] for record in server.wait_records(200 * burst)} == {2}
        assert server.counter("allocations") - before < 20, "an answer allocates"


def test_challenges_of_acme_are_answered_without_tls_and_nothing_else_is(https):
    server = https("site.main.https_redirect = 308\n")
    below = "/.well-known/acme-challenge/"
    assert fetch(server.port, below + "To-ken_1").body == b"proof"
    for other in (below, below + "../../a.txt", below + "%2e%2e/%2e%2e/a.txt", below + "To-ken_1/..", "/.well-known/other", "/a.txt"):
        assert fetch(server.port, other).status == 308, other


def test_who_names_no_host_is_sent_to_the_sites_own_or_refused(https):
    server = https("site.main.https_redirect = 307\n")
    assert fetch(server.port, "/a.txt", host=None, version="HTTP/1.0").status == 403
    assert [(r["status"], r["substatus"]) for r in server.wait_records(1)] == [(403, 4)]
    server.sysctl(site__main__hosts="*.example.org www.example.org")
    server.sysctl(server__default_site="main")
    answer = fetch(server.port, "/a.txt", host=None, version="HTTP/1.0")
    assert (answer.status, answer["Location"]) == (307, f"https://www.example.org:{server.https}/a.txt")


def test_the_redirect_and_its_port_are_changed_live(https):
    server = https()
    assert fetch(server.port, "/a.txt").status == 200
    server.sysctl(site__main__https_redirect=301, site__main__https_port=443)
    answer = fetch(server.port, "/a.txt?q", host="localhost")
    assert (answer.status, answer["Location"]) == (301, "https://localhost/a.txt?q")
    assert curl(server, f"https://localhost:{server.https}/a.txt")[0] == 200
    server.sysctl(site__main__https_redirect=0)
    assert fetch(server.port, "/a.txt").body == b"a"
    refused = server.cli("sysctl", "-w", "site.main.https_redirect=303", check=False)
    assert refused.returncode == 2 and "301, 302, 307 or 308" in refused.stderr + refused.stdout


@pytest.mark.parametrize("version", ["--http1.1"] + HTTP2 * ["--http2"])
def test_every_answer_over_tls_tells_of_it_and_none_without(https, version):
    server = https("site.main.hsts.enable = 1\nsite.main.route.gone.prefix = /gone\nsite.main.route.gone.handler = status\n"
                   "site.main.route.gone.status = 410\n")
    for _ in range(3):  # the first fills the cache
        status, fields, body = curl(server, f"https://localhost:{server.https}/a.txt", version)
        assert (status, fields["strict-transport-security"], body) == (200, f"max-age={YEAR}", b"a")
    for path, more, expected in (("/a.txt", ("-H", "If-None-Match: " + fields["etag"]), 304), ("/a.txt", ("-r", "0-0"), 206), ("/none", (), 404),
                                 ("/a.txt", ("-X", "DELETE"), 405), ("/gone", (), 410), ("/.well-known", (), 301)):
        status, fields, _ = curl(server, f"https://localhost:{server.https}{path}", version, *more)
        assert (status, fields["strict-transport-security"]) == (expected, f"max-age={YEAR}")
    for path in ("/a.txt", "/a.txt", "/none", "/gone"):
        assert "strict-transport-security" not in curl(server, f"http://localhost:{server.port}{path}")[1]


def test_hsts_is_changed_live(https):
    server = https("site.main.hsts.enable = 1\n")
    url = f"https://localhost:{server.https}/a.txt"
    say = lambda: curl(server, url)[1].get("strict-transport-security")
    assert say() == f"max-age={YEAR}"
    server.sysctl(site__main__hsts__subdomains=1, site__main__hsts__preload=1)
    assert say() == f"max-age={YEAR}; includeSubDomains; preload"
    server.sysctl(site__main__hsts__preload=0, site__main__hsts__max_age=0)
    assert say() == "max-age=0; includeSubDomains"
    server.sysctl(site__main__hsts__enable=0)
    assert say() is None
