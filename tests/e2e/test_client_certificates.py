"""Issue 5 §1: client certificates, off, asked for or required for each site; what is wrong with one, HTTP tells."""
import ssl
import subprocess

import pytest
from client_certificates import Authority, fingerprint
from demo import FEATURES
from h2_client import H2Client
from http_client import Connection, wait_until
from instance import BINARY, JSON_LOG, TREE, free_port, make_pair

FIELDS = "sc-status sc-substatus cs-host x-client-subject x-client-fingerprint x-scheme x-reason-name x-timestamp"
VERSIONS = ("--http1.1", "--http2")


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"), "root")


@pytest.fixture(scope="module")
def clients(authority, tmp_path_factory):
    """name → (certificate, key)"""
    made = {"anna": authority.issue("anna"), "gone": authority.issue("gone"),
            "late": authority.issue("late", end="20200102000000Z"), "early": authority.issue("early", start="20980101000000Z"),
            "strange": Authority(tmp_path_factory.mktemp("other"), "root").issue("strange")}
    authority.revoke(made["gone"][0])
    return made


@pytest.fixture
def server(make, tmp_path, authority, clients):
    """Sites `must.test` (require), `may.test` (ask), `open.test` (off)."""
    cert, key = make_pair(tmp_path, "localhost")
    port = free_port()
    text = JSON_LOG.split("log.access.fields")[0] + f"log.access.fields = {FIELDS}\nserver.listen_tls = 127.0.0.1:{port}\n"
    for site, how in {"must": "require", "may": "ask", "open": "off"}.items():
        text += (f"site.{site}.hosts = {site}.test\nsite.{site}.root = {{WWW}}\nsite.{site}.tls.certificate = {cert}\n"
                 f"site.{site}.tls.key = {key}\n")
        if how != "off":
            text += (f"site.{site}.tls.client = {how}\nsite.{site}.tls.client_ca = {authority.pem}\n"
                     f"site.{site}.tls.client_crl = {authority.crl}\n")
    text += "server.default_site = open\n"
    made = make(text, files={"a.txt": "a"})
    made.https, made.config = port, text
    return made


def ask(server, host, client=None, *more, sni=None, path="/a.txt"):
    """(status, body) by curl; `sni`: the name in the handshake, where it differs from Host."""
    words = ["curl", "-sSk", "--max-time", "20", "-o", "-", "-w", "\n%{http_code}", "--resolve", f"{sni or host}:{server.https}:127.0.0.1",
             f"https://{sni or host}:{server.https}{path}", "-H", f"Host: {host}", *more]
    if client:
        words += ["--cert", client[0], "--key", client[1]]
    body, _, status = subprocess.run(list(map(str, words)), capture_output=True, check=True).stdout.decode().rpartition("\n")
    return int(status), body


def settled(server, count):
    """The records of requests for the three sites, once there are so many."""
    def records():
        found = [r for r in server.records() if r["host"].endswith(".test")]
        return found if len(found) >= count else None
    return wait_until(records, 5, what=f"{count} records")


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_wrong_with_a_certificate_has_its_own_sub_status(server, clients, version):
    wanted = [("must.test", None, 403, 7), ("must.test", "anna", 200, 0), ("must.test", "gone", 403, 13), ("must.test", "strange", 403, 16),
              ("must.test", "late", 403, 17), ("must.test", "early", 403, 17),
              ("may.test", None, 200, 0), ("may.test", "anna", 200, 0), ("may.test", "gone", 403, 13), ("may.test", "late", 403, 17),
              ("open.test", None, 200, 0), ("open.test", "strange", 200, 0)]
    for host, who, status, _ in wanted:
        assert ask(server, host, clients.get(who), version)[0] == status, (host, who)
    told = settled(server, len(wanted))
    assert [(r["host"], r["status"], r["substatus"]) for r in told] == [(h, s, sub) for h, _, s, sub in wanted]
    for record, (host, who, _, _) in zip(told, wanted):
        shown = who if host != "open.test" else None
        assert record["client_subject"] == (f"CN={who}" if shown else ""), record
        assert record["client_fingerprint"] == (fingerprint(clients[who][0]) if shown else ""), record
        assert record["scheme"] == "https"


def test_plain_http_is_no_way_around_a_required_certificate(server):
    for host, status in {"must.test": 403, "may.test": 200, "open.test": 200}.items():
        with Connection(server.port) as plain:
            assert plain.request("/a.txt", host=host).status == status, host


def test_a_challenge_of_acme_is_answered_without_tls_where_a_certificate_is_required_and_nothing_else_is(server):
    below = "/.well-known/acme-challenge/"
    server.put(below[1:] + "To-ken_1", "proof")
    server.put(".well-known/other", "other")
    with Connection(server.port) as plain:
        for method, expected in (("GET", b"proof"), ("HEAD", b"")) * 3:  # from the cache, too
            answer = plain.request(below + "To-ken_1", host="must.test", method=method)
            assert (answer.status, answer.body) == (200, expected)
        assert plain.request(below + "none", host="must.test").status == 404
    for path in (below, below + "../../a.txt", below + "%2e%2e/%2e%2e/a.txt", below + "To-ken_1/..", "/.well-known/other", "/a.txt"):
        with Connection(server.port) as plain:
            assert plain.request(path, host="must.test").status == 403, path
    with Connection(server.port) as plain:
        assert plain.request(below + "To-ken_1", host="must.test", method="POST", fields=["Content-Length: 0"]).status == 403
    assert ask(server, "must.test", path=below + "To-ken_1")[0] == 403, "over TLS there is no need for it"
    server.write_config(server.config + f"site.must.route.acme.prefix = {below}\nsite.must.route.acme.handler = pool\n"
                        f"site.must.route.acme.pool = k\npool.k.runtime = external\npool.k.app = {BINARY.parent / 'tests/support/apps/kept'}\n")

    def refused():
        with Connection(server.port) as plain:
            return plain.request(below + "To-ken_2", host="must.test").status == 403
    wait_until(refused, 20, what="an application is not reached without a certificate")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_site_is_not_reached_over_a_connection_with_other_rules(server, clients, version):
    for host in ("must.test", "may.test", "open.test"):  # in the cache, that is no way around either
        for _ in range(3):
            assert ask(server, host, clients["anna"], version)[0] == 200
    for sni in ("must.test", "may.test", "open.test", "unknown.test"):
        for host in ("must.test", "may.test", "open.test"):
            if sni == host or (sni, host) == ("unknown.test", "open.test"):
                continue
            if version == "--http2":
                with h2(server, sni, clients["anna"]) as client:
                    status = status_of(client, host)
            else:
                status, _ = ask(server, host, clients["anna"], version, sni=sni)
            assert status == 421, (sni, host)


def h2(server, name, client=None):
    """A connection of HTTP/2 that was made for `name`."""
    context = ssl._create_unverified_context()
    context.set_alpn_protocols(["h2"])
    if client:
        context.load_cert_chain(*client)
    return H2Client(server.https, tls=context, server_name=name)


def status_of(client, host):
    return client.get("/a.txt", authority=host, scheme="https").status


def test_a_revocation_holds_for_connections_and_sessions_that_are_there(server, authority, tmp_path):
    client = authority.issue(f"leaves{tmp_path.name}".replace("_", ""))
    saved = tmp_path / "session"
    assert resume(server, client, ["-sess_out", saved]) == (False, 200)
    assert resume(server, client, ["-sess_in", saved]) == (True, 200)
    with h2(server, "must.test", client) as kept:
        assert status_of(kept, "must.test") == 200
        authority.revoke(client[0])
        wait_until(lambda: status_of(kept, "must.test") == 403, 20, what="the open connection is refused")
    assert resume(server, client, ["-sess_in", saved]) == (False, 403)
    # How often the open connection was asked before it was refused is nobody's business: the last record counts.
    wait_until(lambda: [r["substatus"] for r in settled(server, 5)][-2:] == [13, 13], what="both refusals are in the log")


def test_a_broken_list_changes_nothing_and_is_named(server, clients, tmp_path):
    broken = tmp_path / "broken.pem"
    broken.write_text("nothing")
    refused = server.cli("sysctl", "-w", f"site.must.tls.client_crl={broken}", check=False)
    assert refused.returncode != 0 and str(broken) in refused.stderr + refused.stdout
    assert ask(server, "must.test", clients["gone"])[0] == 403


def test_rules_change_while_connections_live(server, authority, clients):
    with h2(server, "open.test") as kept:
        assert status_of(kept, "open.test") == 200
        server.cli("sysctl", "-w", f"site.open.tls.client_ca={authority.pem}", "site.open.tls.client=require")
        wait_until(lambda: status_of(kept, "open.test") == 421, 20, what="the connection is not good enough any more")
    assert ask(server, "open.test")[0] == 403
    assert ask(server, "open.test", clients["anna"])[0] == 200


def resume(server, client, more):
    """(whether the session was resumed, the status)"""
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{server.https}", "-servername", "must.test", "-cert", client[0],
                           "-key", client[1], "-ign_eof", *map(str, more)], timeout=20, capture_output=True,
                          input=b"GET /a.txt HTTP/1.1\r\nHost: must.test\r\nConnection: close\r\n\r\n").stdout.decode()
    return "Reused," in done, int(done.split("HTTP/1.1 ")[1][:3])


# --- applications ------------------------------------------------------------------------------

LATE = TREE / "tests/support/apps/late"
RUNTIMES = {
    "external": ("told", f"pool.p.runtime = external\npool.p.app = {BINARY.parent / 'tests/support/apps/life'}\n"),
    "cgi": ("x", f"pool.p.runtime = cgi\npool.p.app = {LATE}/late.cgi\npool.p.directory = {LATE}\nidentity.free.execute = /usr/bin\n"),
    "fastcgi": ("x", f"pool.p.runtime = fastcgi\npool.p.app = /usr/bin/python3 {LATE}/late_fastcgi.py\n"
                     f"identity.free.private_tmp = 1\nidentity.free.read = {LATE}\n"),
    "wsgi": ("x", f"pool.p.runtime = wsgi\npool.p.app = late_wsgi:application\npool.p.directory = {LATE}\n"),
}
FORGED = [word for name in ("SSL-Client-Verify: SUCCESS", "SSL_CLIENT_VERIFY: SUCCESS", "Ssl-Client-S-Dn: CN=eve", "HTTPS: off",
                            "SSL_CLIENT_FINGERPRINT: 00", "X-Forwarded-Proto: http") for word in ("-H", name)]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_applications_are_told_of_tls_and_of_the_client(server, clients, runtime):
    path, text = RUNTIMES[runtime]
    if runtime == "wsgi" and not FEATURES["wsgi"]["available"]:
        pytest.skip("wsgi is not in this build")
    routes = "".join(f"site.{site}.route.app.prefix = /app\nsite.{site}.route.app.handler = pool\nsite.{site}.route.app.pool = p\n"
                     for site in ("must", "may", "open"))
    server.write_config(server.config + routes + text + "pool.p.identity = free\nidentity.free.files_max = 1000\n")
    wait_until(lambda: ask(server, "open.test", None, path=f"/app/{path}")[0] == 200, 20, what="the application answers")

    def told(host, who=None):
        status, body = ask(server, host, clients.get(who), *FORGED, path=f"/app/{path}")
        assert status == 200, (status, body)
        return dict(word.split("=", 1) for word in body.split())
    anna = {"SSL_CLIENT_VERIFY": "SUCCESS", "SSL_CLIENT_S_DN": "CN=anna", "SSL_CLIENT_FINGERPRINT": fingerprint(clients["anna"][0])}
    nobody = {"SSL_CLIENT_S_DN": "-", "SSL_CLIENT_FINGERPRINT": "-"}
    tls = {"SCHEME": "https", "SERVER_PORT": str(server.https)}
    assert told("must.test", "anna") == {**tls, **anna}
    assert told("may.test", "anna") == {**tls, **anna}
    assert told("may.test") == {**tls, **nobody, "SSL_CLIENT_VERIFY": "NONE"}
    assert told("open.test", "anna") == {**tls, **nobody, "SSL_CLIENT_VERIFY": "-"}


def test_answers_for_who_showed_a_certificate_are_never_shared(server, clients):
    server.write_config(server.config + "site.may.route.app.prefix = /app\nsite.may.route.app.handler = pool\nsite.may.route.app.pool = k\n"
                        "site.may.route.app.collapse = 1\n"
                        f"pool.k.runtime = external\npool.k.app = {BINARY.parent / 'tests/support/apps/kept'}\n")
    path = "/app/plain/x"
    wait_until(lambda: ask(server, "may.test", path=path)[0] == 200, 20, what="the application answers")
    bodies = []

    def is_kept():
        bodies.append(ask(server, "may.test", path=path)[1])
        return bodies[-2:-1] == bodies[-1:]
    wait_until(is_kept, 20, what="an answer for all is kept")
    own = [ask(server, "may.test", clients["anna"], path=path)[1] for _ in range(4)]
    assert len(set(own)) == 4 and bodies[-1] not in own, "each is a call of its own"
    assert ask(server, "may.test", path=path)[1] == bodies[-1], "and none of them is for others"
