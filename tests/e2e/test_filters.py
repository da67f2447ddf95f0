"""VH6: filters of a site: requests, answers and records, before files as before applications; what each failure costs."""
import json
import subprocess
import time

import pytest
from h2_client import H2Client
from http_client import Connection, wait_until
from instance import BINARY, JSON_LOG, ONE_SITE, sub_statuses, tls_lines

FEATURES = {f["name"]: f for f in json.loads(subprocess.run([BINARY, "features", "--json"], capture_output=True, text=True).stdout)["features"]}
pytestmark = pytest.mark.skipif(not FEATURES["pools"]["available"], reason="this build does not run pools")
SIEVE = BINARY.parent / "tests/support/apps/sieve"
GATE = BINARY.parent / "pool/sdk/gate.so"
LOG = JSON_LOG.replace("x-cache", "x-cache x-filter")


def pool(name, *more):
    return "".join(f"pool.{name}.{line}\n" for line in ("runtime = external", f"app = {SIEVE} {name}", *more))


CONFIG = (ONE_SITE + LOG + "cache.admit_hits = 1\nsite.main.filters = one two\n"
          "site.beside.hosts = beside.example\nsite.beside.root = {WWW}\n"
          "site.main.route.ready.prefix = /.ready\nsite.main.route.ready.filters = \"\"\n"
          "site.main.route.free.prefix = /free\nsite.main.route.free.filters = \"\"\n"
          "site.main.route.go.prefix = /go\nsite.main.route.go.handler = redirect\nsite.main.route.go.to = /elsewhere\n"
          "site.main.route.app.prefix = /app\nsite.main.route.app.handler = pool\nsite.main.route.app.pool = back\n"
          "site.main.route.third.prefix = /third\nsite.main.route.third.handler = pool\nsite.main.route.third.pool = back\n"
          "site.main.route.third.filters = three\n"
          + pool("one") + pool("two", "request_timeout = 600ms") + pool("three") + pool("back"))
FILES = {"a.txt": "file a\n", "b.txt": "file b\n", "free/f.txt": "free\n", "missing.html": "no such page\n"}


@pytest.fixture(scope="module")
def server():
    from instance import Instance
    with Instance(CONFIG) as instance:
        for path, body in FILES.items():
            instance.put(path, body)
        yield instance.start()


def get(server, target, method="GET", **options):
    server.asked = getattr(server, "asked", 0) + 1
    with Connection(server.port, timeout=20) as connection:
        return connection.request(target, method, **options)


def last_record(server, target):
    """The record of the latest get(), which was of that target."""
    record = server.wait_records(server.asked)[-1]
    assert len(server.records()) == server.asked and record["path"] == target.partition("?")[0]
    return record


def test_requests_pass_in_order_answers_in_reverse_and_the_record_says_so(server):
    answer = get(server, "/app/x?q=1")
    assert answer.status == 200 and answer.body.endswith(b"/app/x?q=1 order=onetwo\n")
    assert answer["X-Seen"] == "twoone" and answer.get("X-Powered-By") is None
    record = last_record(server, "/app/x")
    assert record["filter"] == f"one=200/{len(answer.body)} two=200/{len(answer.body)}"


@pytest.mark.parametrize("target, status, body", [
    ("/a.txt", 200, b"file a\n"), ("/none", 404, None), ("/go", 302, None), ("/a.txt?two=frame", 200, b"file a\n")])
def test_what_the_front_end_answers_itself_is_seen_as_well(server, target, status, body):
    for method in ("GET", "HEAD", "GET"):  # the last from the cache
        answer = get(server, target, method)
        assert answer.status == status and answer["X-Seen"] == "twoone"
        if method == "GET" and body is not None:
            assert answer.body == body and answer["Content-Length"] == str(len(body))
    assert last_record(server, target)["filter"].startswith(f"one={status}/")


def test_conditions_and_ranges_of_a_file_hold_behind_filters(server):
    tag = get(server, "/a.txt")["ETag"]
    unchanged = get(server, "/a.txt", fields=[f"If-None-Match: {tag}"])
    assert unchanged.status == 304 and unchanged["X-Seen"] == "twoone"
    part = get(server, "/a.txt", fields=["Range: bytes=0-3"])
    assert part.status == 206 and part.body == b"file" and part["Content-Range"] == "bytes 0-3/7" and part["X-Seen"] == "twoone"


@pytest.mark.parametrize("host", ["h", "beside.example"])
def test_a_route_or_a_site_without_filters_is_not_looked_at(server, host):
    for verdict in ("fill-led", "hit", "hit"):
        answer = get(server, "/free/f.txt", host=host)
        assert answer.body == b"free\n" and answer.get("X-Seen") is None
        record = last_record(server, "/free/f.txt")
        assert (record["filter"], record["cache"]) == ("", verdict)


def test_a_filter_may_answer_by_itself_and_nobody_keeps_that(server):
    for name, seen in (("one", None), ("two", "one")):
        for _ in range(2):
            answer = get(server, f"/app/kept/{name}?{name}=deny")
            assert answer.status == 403 and answer.body == b"denied by " + name.encode() and answer["X-Denied"] == name
            assert answer.get("X-Seen") == seen, "only those that let it pass are asked about the answer"
        assert last_record(server, f"/app/kept/{name}")["cache"] == "filtered"


def test_a_body_that_nobody_reads_is_none_of_the_next_request(server):
    with Connection(server.port, timeout=20) as connection:
        for target, status in (("/app/up?one=deny", 403), ("/a.txt", 405), ("/app/up", 200), ("/app/up?one=refuse", 500)):
            chunks = b"4\r\nsome\r\n6\r\nchunks\r\n0\r\n\r\n"
            for frame, body in (("Content-Length: 3000", b"x" * 3000), ("Transfer-Encoding: chunked", chunks)):
                assert connection.request(target, "POST", fields=[frame], body=body).status == status
                following = connection.request("/a.txt")
                assert following.status == 200 and following.body == b"file a\n"
                server.asked += 2


def test_another_target_is_served_through_its_own_route(server):
    assert get(server, "/app/x?one=to:/b.txt").body == b"file b\n"
    moved = get(server, "/a.txt?two=to:/app/moved%3fx=y?z").body
    assert moved.endswith(b" /app/moved%3fx=y?z order=one\n")
    through = get(server, "/app/y?one=to:/third/y")
    assert through.body.endswith(b"/third/y order=twothree\n"), "the filters of that route look at it, too"
    assert through["X-Seen"] == "threetwoone"
    assert get(server, "/a.txt?one=to:/none").status == 404
    assert get(server, "/a.txt?one=to:/a%20b").status == 404
    for bad in ("/a%00", "/%zz", "/../..", "/a%2500"):
        assert get(server, f"/a.txt?one=to:{bad}").status == 500, bad
        assert sub_statuses([last_record(server, "/a.txt")]) == ["500.36"]


def test_an_answer_may_be_renamed_where_its_body_can_stay(server):
    for target in ("/a.txt", "/app/x"):
        renamed = get(server, f"{target}?one.answer=418")
        assert renamed.status == 418 and renamed["Content-Length"] == str(len(renamed.body)) != "0"
        assert last_record(server, target)["status"] == 418
        assert get(server, f"{target}?one.answer=204").status == 500
        record = last_record(server, target)
        assert sub_statuses([record]) == ["500.36"] and record["filter"].startswith("one:FILTER_INVALID")


def test_fields_that_frame_messages_are_no_filters_business(server):
    with Connection(server.port, timeout=20) as connection:
        for target in ("/a.txt", "/app/x"):
            answer = connection.request(f"{target}?one=frame&two.answer=frame")
            assert answer.status == 200 and answer["Content-Length"] == str(len(answer.body)) and answer["Date"] != "7"
            assert answer.get("Transfer-Encoding") is None and answer.get("Connection") is None
            server.asked += 1


def test_hits_are_filtered_and_what_a_filter_made_for_one_is_kept_for_nobody(server):
    # Both filters set a field: the application might have answered to that.
    first, second = (get(server, "/app/kept/x").body.split()[0] for _ in range(2))
    assert int(second) == int(first) + 1 and last_record(server, "/app/kept/x")["cache"] == "filtered"
    # Neither changes anything: one call answers all, and each hit is looked at.
    target = "/app/kept/y?one=same&two=same"
    first, second = get(server, target), get(server, target)
    assert second.body == first.body and second["Age"].isdigit() and second["X-Seen"] == "twoone"
    assert second.get("X-Powered-By") is None
    assert last_record(server, target)["cache"] == "hit"
    assert get(server, target + "&one=deny").body != first.body
    assert get(server, "/a.txt?one=deny").status == 403, "nor does the cache of files answer before a filter"


@pytest.mark.parametrize("moment", ["", ".answer"])
@pytest.mark.parametrize("what, sub_status, reason", [
    ("crash", "500.34", "FILTER_EXITED"), ("refuse", "500.38", "FILTER_ABORTED"), ("silent", "500.35", "FILTER_TIMEOUT")])
def test_a_filter_that_fails_costs_its_own_request_alone(server, what, sub_status, reason, moment):
    server.sysctl(pool__two__request_timeout="600ms" if what == "silent" else "20s")  # a crash takes two starts of a worker
    for target in ("/a.txt", "/app/x"):
        begun = time.monotonic()
        answer = get(server, f"{target}?two{moment}={what}")
        took = time.monotonic() - begun
        assert answer.status == 500 and b"file a" not in answer.body and b"order=" not in answer.body
        assert what != "silent" or took < 3, "request_timeout is 600 ms"
        record = last_record(server, target)
        assert sub_statuses([record]) == [sub_status] and f"two:{reason}" in record["filter"]
        assert get(server, "/a.txt").body == b"file a\n"
    server.cli("pool", "start", "two", check=False)  # whatever rapid-fail protection thinks of these
    server.sysctl(pool__two__request_timeout="600ms")


def test_a_filter_that_fails_at_the_record_leaves_it_otherwise_whole(server):
    answer = get(server, "/a.txt?one.log=refuse")
    assert answer.status == 200
    record = last_record(server, "/a.txt")
    assert record["filter"] == "one:FILTER_ABORTED two=200/7" and record["status"] == 200


def test_a_client_that_goes_while_a_filter_is_at_it_is_told_of(server):
    with Connection(server.port, timeout=20) as connection:
        connection.send(b"GET /a.txt?two=silent HTTP/1.1\r\nHost: h\r\n\r\n")
        time.sleep(0.05)  # that it is inside is of no consequence: either way it is told once
    server.asked += 1
    assert last_record(server, "/a.txt")["query"] == "two=silent"
    assert get(server, "/a.txt").status == 200


def test_streams_of_HTTP_2_and_requests_over_TLS_are_filtered_like_any(make, tmp_path):
    lines, secure = tls_lines(tmp_path)
    server = make(CONFIG + "http2.cleartext = 1\n" + lines, files=FILES)
    for port, tls in ((server.port, None), (secure.port, secure.client(["h2"]))):
        with H2Client(port, tls=tls) as client:
            for path, body in (("/a.txt", b"file a\n"), ("/app/x", None)):
                for _ in range(2):  # a file, then a hit
                    answer = client.get(path, scheme="https" if tls else "http")
                    assert answer.status == 200 and answer.fields["x-seen"] == "twoone"
                    assert body is None or answer.body == body
            assert client.get("/a.txt?one=deny").status == 403
            assert client.get("/a.txt?one=refuse").status == 500
    with Connection(secure.port) as one:
        one.sock = secure.client(["http/1.1"]).wrap_socket(one.sock, server_hostname="localhost")
        for path in ("/a.txt", "/app/x"):
            assert one.request(path)["X-Seen"] == "twoone"
        assert one.request("/a.txt?two=deny").status == 403


def test_a_pool_that_is_stopped_or_no_filter_lets_nothing_pass(make):
    server = make(ONE_SITE + LOG + "site.main.route.a.prefix = /a\nsite.main.route.a.filters = one\n"
                  "site.main.route.b.prefix = /b\nsite.main.route.b.filters = old\n"
                  "site.main.route.c.prefix = /c\nsite.main.route.c.filters = gate\n"
                  + pool("one") + pool("old", "ring_version = 2")
                  + f"pool.gate.runtime = native\npool.gate.app = {GATE}\n",
                  files={"a/x": "x", "b/x": "x", "c/x": "x", "c/private/x": "x"})
    assert get(server, "/a/x").body == b"x"
    server.cli("pool", "stop", "one")
    assert get(server, "/a/x").status == 503 and get(server, "/b/x").status == 500
    gated = get(server, "/c/x")
    assert gated.body == b"x" and gated["X-Content-Type-Options"] == "nosniff"
    assert get(server, "/c/private/x").status == 403
    records = server.wait_records(5)
    assert sub_statuses(records) == ["200.0", "503.27", "500.39", "200.0", "403.0"]
    assert [record["filter"] for record in records] == ["one=200/1", "one:FILTER_OFFLINE", "old:FILTER_UNUSABLE", "gate=1", ""]


def test_a_full_queue_of_a_filter_is_503(make):
    server = make(ONE_SITE + LOG + "site.main.filters = one\n" + pool("one", "queue_max = 1", "workers_max = 1", "concurrency = 1", "request_timeout = 2s"),
                  files={"a.txt": "file a\n"})
    with Connection(server.port, timeout=20) as inside, Connection(server.port, timeout=20) as waits:
        for connection in (inside, waits):
            connection.send(b"GET /a.txt?one=silent HTTP/1.1\r\nHost: h\r\n\r\n")
            time.sleep(0.1)
        assert get(server, "/a.txt").status == 503
    assert wait_until(lambda: [r for r in server.records() if r["status"] == 503], what="its record")[0]["substatus"] == 26
