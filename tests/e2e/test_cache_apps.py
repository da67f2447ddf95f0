"""Issue 3 §6: answers of applications in the response cache, by a worker's policy and by plain header fields; and versions
of the rings on either side (UP8)."""
import json
import subprocess

import pytest
from http_client import Connection, wait_until
from instance import BINARY, JSON_LOG, ONE_SITE, sub_statuses

FEATURES = {f["name"]: f for f in json.loads(subprocess.run([BINARY, "features", "--json"], capture_output=True, text=True).stdout)["features"]}
pytestmark = pytest.mark.skipif(not FEATURES["pools"]["available"], reason="this build does not run pools")
needs_wsgi = pytest.mark.skipif(not FEATURES["wsgi"]["available"], reason="wsgi is not in this build")
KEPT = BINARY.parent / "tests/support/apps/kept"


def config(pool="", route=""):
    return (ONE_SITE + JSON_LOG + "site.main.route.app.prefix = /app\nsite.main.route.app.handler = pool\nsite.main.route.app.pool = kept\n"
            + "".join(f"site.main.route.app.{line}\n" for line in route.split(";") if line)
            + f"pool.kept.runtime = external\npool.kept.app = {KEPT}\n"
            + "".join(f"pool.kept.{line}\n" for line in pool.split(";") if line))


def get(server, path, tier="", method="GET", fields=()):
    with Connection(server.port, timeout=20) as connection:
        return connection.request(path, method, fields=[*fields, *([f"X-Tier: {tier}"] if tier else [])])


def body(server, path, tier="", **options):
    answer = get(server, path, tier, **options)
    assert answer.status == 200, answer
    return answer.body.decode().strip()


def why(server, path):
    return json.loads(server.cli("cache", "why", path, "--json").stdout)


def verdict_of_last(server):
    return server.settled_records()[-1]["cache"]


def test_a_workers_policy_answers_for_it(make):
    server = make(config())
    assert body(server, "/app/kept/a", "gold") == "call 1 for gold"
    again = get(server, "/app/kept/a", "gold")
    assert again.body == b"call 1 for gold\n" and again["Age"].isdigit() and again["Vary"] == "X-Tier"
    assert body(server, "/app/kept/a", "lead") == "call 2 for lead"
    assert body(server, "/app/kept/a", "lead") == "call 2 for lead"
    assert body(server, "/app/kept/a", "gold") == "call 1 for gold"
    told = why(server, "/app/kept/a")
    assert told["verdict"] == "varies" and told["vary"] == "x-tier" and told["variants"] == 2
    assert body(server, "/app/plain/b") == "call 3 for" == body(server, "/app/plain/b")
    told = why(server, "/app/plain/b")
    assert told["verdict"] == "hit" and 50_000 < told["fresh_ms"] <= 60_000
    seen = [record["cache"] for record in server.settled_records()]
    assert seen == ["fill-led", "hit", "fill-led", "hit", "hit", "fill-led", "hit"]


@pytest.mark.parametrize("by_http", [False, True])
def test_a_soft_purge_answers_on_while_a_call_fetches_the_next(make, by_http):
    server = make(config(route="stale_while_revalidate=60s") + "site.main.purge_from = 127.0.0.1\n")
    assert body(server, "/app/plain/b") == "call 1 for" == body(server, "/app/plain/b")
    if by_http:
        told = json.loads(get(server, "/app/plain/b", method="PURGE", fields=["Soft-Purge: 1"]).body)
    else:
        told = json.loads(server.cli("cache", "purge", "--soft", f"http://127.0.0.1:{server.port}/app/plain/*", "--json").stdout)
    assert told["entries"] == 1
    assert body(server, "/app/plain/b") == "call 1 for", "the old one, at once"
    wait_until(lambda: body(server, "/app/plain/b") == "call 2 for", what="the answer that was fetched")
    assert server.counter("cache_refreshes") == 1


def test_a_purge_by_tag_takes_those_and_no_others(make):
    server = make(config())
    for name in ("a", "b"):
        body(server, f"/app/kept/{name}", "gold")
    purged = json.loads(server.cli("cache", "purge", "tag:a", "--json").stdout)
    assert purged["entries"] == 1
    assert body(server, "/app/kept/b", "gold") == "call 2 for gold"
    assert body(server, "/app/kept/a", "gold") == "call 3 for gold"
    assert json.loads(server.cli("cache", "purge", "tag:all", "--json").stdout)["entries"] == 2
    assert body(server, "/app/kept/b", "gold") == "call 4 for gold"
    assert server.cli("cache", "purge", "tag:a,b", check=False).returncode != 0
    assert body(server, "/app/tags/c") == "call 5 for", "more tags than may be"
    assert body(server, "/app/tags/c") == "call 6 for"
    assert verdict_of_last(server) == "worker-forbids"


def test_an_unsafe_method_ends_what_was_kept(make):
    server = make(config())
    for tier in ("gold", "lead"):
        body(server, "/app/kept/a", tier)
    assert get(server, "/app/kept/a", "gold", method="POST").status == 200
    assert verdict_of_last(server) == "invalidated"
    assert body(server, "/app/kept/a", "lead") == "call 4 for lead"


def test_a_stale_answer_comes_at_once_and_one_call_fetches_the_next(make):
    server = make(config())
    assert body(server, "/app/short/a") == "call 1 for"
    wait_until(lambda: why(server, "/app/short/a")["verdict"] == "expired", what="its lifetime is over")
    assert body(server, "/app/short/a") == "call 1 for"
    assert "hit-stale" in [record["cache"] for record in server.settled_records()]
    assert server.counter("cache_stale") >= 1 and server.counter("cache_refreshes") >= 1
    assert "refreshed" in [record["cache"] for record in server.settled_records()], "it is in the log like every request"
    wait_until(lambda: body(server, "/app/short/a") != "call 1 for", what="the fetched answer")


def test_a_stale_answer_stands_in_while_the_pool_is_down_or_answers_errors(make):
    server = make(config())
    assert body(server, "/app/broken/a") == "call 1 for"
    wait_until(lambda: why(server, "/app/broken/a")["verdict"] == "expired", what="its lifetime is over")
    assert body(server, "/app/broken/a") == "call 1 for", "the application says 503"
    assert verdict_of_last(server) == "hit-stale-error"
    server.cli("pool", "stop", "kept")
    wait_until(lambda: get(server, "/app/broken/other").status == 503, what="the pool is stopped")
    assert body(server, "/app/broken/a") == "call 1 for"
    assert verdict_of_last(server) == "hit-stale-error" and server.counter("cache_stale_error") == 2
    assert get(server, "/app/broken/a").all("Warning") == []


def test_many_misses_at_once_are_one_call(make):
    server = make(config(route="collapse = 1"))
    connections = [Connection(server.port, timeout=20) for _ in range(100)]
    for connection in connections:
        connection.send(b"GET /app/slow/a HTTP/1.1\r\nHost: h\r\n\r\n")
    answers = [connection.read_response().body for connection in connections]
    for connection in connections:
        connection.close()
    assert set(answers) == {b"call 1 for \n"}


# --- versions of the rings ---------------------------------------------------------------------


ENDS = {"server": "ring_version", "worker": "environment.PENSTOCK_WORKER_VERSION_MAX"}
VERSION_MAX = 3


def test_an_older_end_is_spoken_with_in_its_version(make):
    """UP8: N, N-1 and what came before, of each end, each in its own pool."""
    pools = {f"{end}{version}": (version, f"{key} = {version}") for end, key in ENDS.items() for version in range(1, VERSION_MAX + 1)}
    server = make(ONE_SITE + JSON_LOG + "".join(
        f"site.main.route.{name}.prefix = /{name}\nsite.main.route.{name}.handler = pool\nsite.main.route.{name}.pool = {name}\n"
        f"site.main.route.by{name}.prefix = /by/{name}\nsite.main.route.by{name}.filters = {name}\n"
        f"pool.{name}.runtime = external\npool.{name}.app = {KEPT}\npool.{name}.{line}\n" for name, (_, line) in pools.items()))
    for name, (version, _) in pools.items():
        assert body(server, f"/{name}/plain/a") == "call 1 for" == body(server, f"/{name}/plain/a"), "a lifetime is in all of them"
        varies = [body(server, f"/{name}/kept/a", tier) for tier in ("gold", "gold", "lead")]
        kept = ["call 2 for gold", "call 2 for gold", "call 3 for lead"]
        assert varies == (kept if version >= 2 else ["call 2 for gold", "call 3 for gold", "call 4 for lead"]), name
        assert get(server, f"/by/{name}/x").status == 500
    told = server.settled_records()
    filtered = {record["path"]: status for record, status in zip(told, sub_statuses(told)) if record["path"].startswith("/by/")}
    # They are no filters: their library says so from version 3 on, before that the server does not ask.
    assert filtered == {f"/by/{name}/x": "500.38" if version >= 3 else "500.39" for name, (version, _) in pools.items()}


def test_the_version_is_changed_live(make):
    server = make(config(pool="ring_version = 1"))
    assert body(server, "/app/kept/a", "gold") == "call 1 for gold"
    server.sysctl(pool__kept__ring_version=0)
    wait_until(lambda: body(server, "/app/kept/a", "gold") == body(server, "/app/kept/a", "gold"), what="workers that speak version 2")


# --- plain header fields -----------------------------------------------------------------------

WSGI = '''
calls = 0
ANSWERS = {
    "shared": [("Cache-Control", "public, s-maxage=60"), ("Cache-Tag", "news, front"), ("ETag", '"1"')],
    "varies": [("Cache-Control", "max-age=60"), ("Vary", "Accept-Language")],
    "agent": [("Cache-Control", "max-age=60"), ("Vary", "User-Agent")],
    "cookie": [("Cache-Control", "max-age=60"), ("Set-Cookie", "a=b")],
    "private": [("Cache-Control", "private, max-age=60")],
    "silent": [],
    "none": [("Cache-Control", "max-age=60")],
}

def application(environ, start):
    global calls
    calls += 1
    name = environ["PATH_INFO"].rpartition("/")[2]
    start("404 Not Found" if name == "none" else "200 OK", [("Content-Type", "text/plain"), *ANSWERS[name]])
    return [f"call {calls} {environ.get('HTTP_ACCEPT_LANGUAGE', '')}".encode()]
'''


def wsgi_at_app(make, lines, source):
    """A server with the application `source` at /app, beside what `lines` configure."""
    server = make(lines + "site.main.route.app.prefix = /app\nsite.main.route.app.handler = pool\nsite.main.route.app.pool = w\n"
                  "pool.w.runtime = wsgi\npool.w.app = source:application\npool.w.directory = {DIR}/code\n", start=False)
    code = server.dir / "code"
    code.mkdir(mode=0o755)
    (code / "source.py").write_text(source)
    (code / "source.py").chmod(0o644)
    server.start()
    return server


@needs_wsgi
def test_plain_fields_say_the_same(make):
    server = wsgi_at_app(make, ONE_SITE + JSON_LOG, WSGI)
    first = get(server, "/app/shared", fields=["Cookie: a=b"])
    again = get(server, "/app/shared")
    assert first.body == again.body == b"call 1 " and again["Age"].isdigit() and first.all("Cache-Tag") == again.all("Cache-Tag") == []
    assert get(server, "/app/shared", fields=['If-None-Match: "1"']).status == 304
    german, english = ["Accept-Language: de"], ["Accept-Language: en"]
    assert get(server, "/app/varies", fields=german).body == b"call 2 de"
    assert get(server, "/app/varies", fields=english).body == b"call 3 en"
    assert get(server, "/app/varies", fields=german).body == b"call 2 de"
    assert get(server, "/app/varies", fields=[*german, "If-None-Match: *"]).status == 304, "also without an ETag"
    assert get(server, "/app/none", fields=["If-None-Match: *"]).status == 404
    assert get(server, "/app/none").status == get(server, "/app/none").status == 404
    assert get(server, "/app/none").body == b"call 4 "
    assert json.loads(server.cli("cache", "purge", "tag:front", "--json").stdout)["entries"] == 1
    assert get(server, "/app/shared").body == b"call 5 "
    for count, (name, verdict) in enumerate([("agent", "vary-unkeyed"), ("cookie", "set-cookie"), ("private", "cache-control"), ("silent", "no-lifetime")]):
        assert get(server, f"/app/{name}").body == f"call {6 + 2 * count} ".encode()
        assert get(server, f"/app/{name}").body == f"call {7 + 2 * count} ".encode()
        assert verdict_of_last(server) == verdict
