"""Issue 3 §3, DY9: a request that takes too long is ended, whatever runs it and whatever it does; and what the
applications of all runtimes are given alike."""
import json
import socket
import threading
import time
from statistics import median

import pytest
from http_client import Connection, wait_until
from instance import BINARY, JSON_LOG, ONE_SITE, QUICK, TREE, sub_statuses
from test_pools_life import LIFE, fetch, show, status_of, workers

LATE = TREE / "tests/support/apps/late"
RUNTIMES = {
    "external": f"pool.life.runtime = external\npool.life.app = {LIFE}\n",
    "cgi": f"pool.life.runtime = cgi\npool.life.app = {LATE}/late.cgi\npool.life.directory = {LATE}\nidentity.free.execute = /usr/bin\n",
    "fastcgi": f"pool.life.runtime = fastcgi\npool.life.app = /usr/bin/python3 {LATE}/late_fastcgi.py\n"
               f"identity.free.private_tmp = 1\nidentity.free.read = {LATE}\n",
    "wsgi": f"pool.life.runtime = wsgi\npool.life.app = late_wsgi:application\npool.life.directory = {LATE}\n",
}
WAYS = ["loop", "sleep", "block", "deaf", "stream"]
T = 0.5


def config(runtime, lines=""):
    return (ONE_SITE + "site.main.route.app.prefix = /app\nsite.main.route.app.handler = pool\nsite.main.route.app.pool = life\n"
            "pool.life.identity = free\nidentity.free.files_max = 1000\n" + RUNTIMES[runtime] + lines)


def instance(make, runtime, lines=""):
    features = {f["name"]: f for f in json.loads(make(start=False).cli("features", "--json").stdout)["features"]}
    if runtime == "wsgi" and not features["wsgi"]["available"]:
        pytest.skip("wsgi is not in this build")
    server = make(config(runtime, lines))
    # The first worker's start counts as the request's time: on a loaded machine that may be too much for it.
    wait_until(lambda: status_of(server, "/app/who") == 200, seconds=20, what=f"a request is served: {server.output()}")
    return server


def ended(port, target):
    """Asks, and throws away what comes until the connection ends. Whether the answer was 200 and ended as it should."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as peer:
        peer.sendall(f"GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
        first, last = b"", b""
        try:
            while part := peer.recv(1 << 20):
                first, last = first or part, part
        except ConnectionResetError:
            return False
        return first.startswith(b"HTTP/1.1 200") and last.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_requests_that_take_too_long_are_no_failures_of_the_application(make, runtime):
    server = instance(make, runtime, f"pool.life.request_timeout = {int(T * 1000)}ms\npool.life.concurrency = 1\npool.life.rapid_fail.crashes = 2\n")
    for how in WAYS:
        assert not ended(server.port, f"/app/{how}")
        wait_until(lambda: status_of(server, "/app/who") == 200, seconds=15, what=f"another request is served after {how}")
    pool = show(server)["pool"]
    assert pool["state"] == "serving" and pool["failures"] == 0, server.output()


@pytest.mark.alone
@pytest.mark.parametrize("runtime, how", [(runtime, how) for runtime in RUNTIMES for how in WAYS] + [("wsgi", "lock")])
def test_they_are_ended_in_time_and_their_place_is_free_soon(make, runtime, how):
    server = instance(make, runtime, f"pool.life.request_timeout = {int(T * 1000)}ms\npool.life.concurrency = 1\n")
    late, refill = [], []
    for _ in range(1 if QUICK else 3):
        began = time.monotonic()
        assert not ended(server.port, f"/app/{how}")
        late.append(time.monotonic() - began - T)
        began = time.monotonic()
        # A start that the machine makes longer than T costs the request that waits for it, and counts as a late one.
        wait_until(lambda: status_of(server, "/app/who") == 200, seconds=15, what="another request is served")
        refill.append(time.monotonic() - began)
    assert -0.1 <= median(late) <= 0.1, late
    assert median(refill) <= 0.2, refill


@pytest.mark.alone
def test_so_are_those_of_servers_behind_http_scgi_and_uwsgi(make):
    """The worst of them, all three at once: each ignores SIGTERM and goes on."""
    names = ("http", "scgi", "uwsgi")
    server = make(ONE_SITE + f"identity.free.private_tmp = 1\nidentity.free.read = {LATE}\n" + "".join(
        f"site.main.route.{name}.prefix = /{name}\nsite.main.route.{name}.handler = pool\nsite.main.route.{name}.pool = {name}\n"
        f"pool.{name}.runtime = {name}\npool.{name}.app = /usr/bin/python3 {LATE}/late_upstream.py {name}\npool.{name}.identity = free\n"
        f"pool.{name}.request_timeout = {int(T * 1000)}ms\npool.{name}.concurrency = 1\n" for name in names))
    seen = {}

    def look(name):
        began = time.monotonic()
        whole = ended(server.port, f"/{name}/deaf")
        late = time.monotonic() - began - T
        began = time.monotonic()
        wait_until(lambda: status_of(server, f"/{name}/who") == 200, seconds=15, what="another request is served")
        seen[name] = (whole, late, time.monotonic() - began)
    for name in names:
        wait_until(lambda: status_of(server, f"/{name}/who") == 200, seconds=20, what=f"a request is served: {server.output()}")
    threads = [threading.Thread(target=look, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 3 and not any(whole for whole, _, _ in seen.values())
    # Three interpreters start at once for the refill: of that the middle one counts.
    assert -0.1 <= median(late for _, late, _ in seen.values()) <= 0.1 and median(refill for _, _, refill in seen.values()) <= 0.2, seen


def test_the_record_of_an_overdue_worker_names_the_request(make):
    server = instance(make, "external", f"pool.life.request_timeout = {int(T * 1000)}ms\n")
    assert not ended(server.port, "/app/loop?number=1")
    wait_until(lambda: json.loads(server.cli("journal", "killers", "--json").stdout)["killers"], what="a record")
    killer = json.loads(server.cli("journal", "killers", "--json").stdout)["killers"][0]
    assert killer["kind"] == "overdue" and "GET /app/loop?number=1" in killer["cause"]
    assert "is ended: GET /app/loop?number=1" in server.words.read_text()


def test_others_inside_of_an_overdue_worker_are_served_by_the_next_where_they_may_be(make):
    """DY9: an application that has several at a time, one of which never lets go, and ignores SIGTERM."""
    server = instance(make, "external", "pool.life.request_timeout = 20s\n" + JSON_LOG)
    first = fetch(server.port, "/app/who").body
    others = {method: Connection(server.port, timeout=20) for method in ("GET", "PUT", "DELETE", "POST")}
    for method, connection in others.items():
        connection.send(f"{method} /app/hold?{method} HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
    wait_until(lambda: workers(server)[0]["inside"] == len(others), what="they are inside")
    server.sysctl(pool__life__request_timeout=f"{int(T * 1000)}ms")
    assert status_of(server, "/app/deaf") == 502
    server.sysctl(pool__life__request_timeout="20s")
    assert others["POST"].read_response().status == 502
    wait_until(lambda: [w["inside"] for w in workers(server)] == [3], what="the next worker has the others")
    server.cli("pool", "recycle", "life")  # whoever is asked to leave answers what it holds
    answers = [others[method].read_response() for method in ("GET", "PUT", "DELETE")]
    assert {answer.status for answer in answers} == {200} and len({answer.body for answer in answers} - {first}) == 1
    for connection in others.values():
        connection.close()
    records = server.settled_records()
    told = {record["query"] or record["path"]: status for record, status in zip(records, sub_statuses(records))}
    assert told == {"/app/who": "200.0", "/app/deaf": "502.1", "GET": "200.0", "PUT": "200.0", "DELETE": "200.0", "POST": "502.2"}
    assert show(server)["pool"]["failures"] == 0


# --- what applications are given -------------------------------------------------------------------

GIVEN = ("pool.life.environment.POOL_SAYS = one\nidentity.free.environment.IDENTITY_SAYS = two\n"
         "pool.life.environment.BOTH_SAY = pool\nidentity.free.environment.BOTH_SAY = identity\n")


@pytest.mark.parametrize("passes", [0, 1])
@pytest.mark.parametrize("runtime", ["cgi", "fastcgi", "wsgi", "external"])
def test_variables_and_authorization_are_given_alike(make, runtime, passes):
    server = instance(make, runtime, GIVEN + f"pool.life.pass_authorization = {passes}\n")
    with Connection(server.port, timeout=20) as connection:
        target = "/app/told" if runtime == "external" else "/app/x"
        answer = connection.request(target, fields=["Authorization: Basic eA=="])
    assert answer.body.decode().strip() == ("POOL_SAYS=one IDENTITY_SAYS=two BOTH_SAY=pool HTTP_AUTHORIZATION="
                                            + ("Basic eA==" if passes else "-"))
