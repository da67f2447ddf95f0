"""Issue 3 §1: the longest head within the limits travels whole; UP8: who speaks another version of the rings is served
where both know one, or refused with one message, and its pool told."""
import os
import signal

import pytest
from http_client import Connection, wait_until
from instance import BINARY, JSON_LOG, sub_statuses
from test_pools_life import alive, config, fetch, pid_of, show, status_of, workers

OLD = BINARY.parent / "tests/support/apps/worker_v1"
ONE = "workers_min=1;workers_max=1;"
FIELD_BYTES = 8000


def told(server, head_bytes):
    """The answer to a request whose head has about so many bytes, with the longest path and query there may be."""
    path, query = "/app/" + "a/" * 4000 + "told", "q" * 4096
    line = f"GET {path}?{query} HTTP/1.1\r\n"
    rest = head_bytes - len(line) - 1000
    fields = [f"X-{i}: " + "v" * FIELD_BYTES for i in range(rest // FIELD_BYTES)]
    fields += ["X-Rest: " + "v" * (rest % FIELD_BYTES), f"Authorization: whole {head_bytes}"]
    with Connection(server.port, timeout=20) as connection:
        answer = connection.request(f"{path}?{query}", fields=fields)
        return answer.status, answer.body.decode()


def test_the_longest_head_within_the_limits_reaches_the_worker_whole_also_when_they_grow(make):
    server = make(config(ONE + "pass_authorization=1") + "limits.segments = 16383\n")
    status, body = told(server, 16 << 10)
    assert status == 200 and f"HTTP_AUTHORIZATION=whole {16 << 10}" in body
    assert told(server, 200 << 10)[0] == 431
    before = pid_of(server)
    server.sysctl(limits__head_bytes=200 << 10)
    # The worker from before has room for heads as they were: it is replaced, and what it cannot take is refused.
    wait_until(lambda: [w for w in workers(server) if w["pid"] != before] and not alive(before), seconds=20, what="a worker with more room")
    status, body = told(server, 200 << 10)
    assert status == 200 and f"HTTP_AUTHORIZATION=whole {200 << 10}" in body


def test_a_worker_from_before_version_2_is_served(make):
    server = make(config(ONE, app=OLD))
    answer = fetch(server.port, "/app/hi")
    assert (answer.status, answer.body, answer["X-Version"]) == (200, b"v1 GET /app/hi 0\n", "1")
    with Connection(server.port, timeout=20) as connection:
        for size in (0, 1, 100_000, 1_000_000):
            answer = connection.request("/app/up", method="POST", fields=[f"Content-Length: {size}"], body=b"x" * size)
            assert answer.body == f"v1 POST /app/up {size}\n".encode()
    pid = workers(server)[0]["pid"]
    front = server.role("server")
    os.kill(front, signal.SIGKILL)  # its successor takes over the rings
    wait_until(lambda: status_of(server, "/app/hi") == 200, seconds=20, what="the next server")
    assert [w["pid"] for w in workers(server)] == [pid]


@pytest.mark.parametrize("arguments, said", [
    ("before-beds", "worker_v1: 1 channels, and descriptors for 2"),
    ("ready 4", "version 4"),
    ("ready 0", "version 0"),
], ids=["before-beds", "newer", "none"])
def test_a_worker_of_a_version_that_is_not_spoken_is_refused_and_its_pool_told(make, arguments, said):
    server = make(config(ONE + "rapid_fail.crashes=2;rapid_fail.probe=1h", app=f"{OLD} {arguments}") + "server.reactors = 1\n",
                  files={"a.txt": "a"})
    wait_until(lambda: status_of(server, "/app/hi") == 503 and show(server)["pool"]["state"] == "failed", seconds=20, what="the pool has failed")
    assert said in server.output()
    assert show(server)["pool"]["last_failure"].startswith("worker ")
    assert fetch(server.port, "/a.txt").status == 200


LIES = {"k": "a descriptor of an unknown kind", "s": "a message for an exchange that is not open", "g": "a message for an exchange that is not open",
        "h": "bytes outside of its arena", "b": "bytes outside of its arena", "c": "more bytes than it was allowed to send",
        "t": "a ring index moved where it cannot be"}


def test_a_worker_that_breaks_the_protocol_is_killed_and_its_pool_told(make):
    """SB8: by the first such word, with a record of its own, and at no one else's cost."""
    server = make(config(ONE + "rapid_fail.enable=0", app=OLD) + JSON_LOG, files={"a.txt": "a"})
    for how, sentence in LIES.items():
        server.cli("pool", "start", "life")  # a clean record: no pause before the next start
        assert status_of(server, "/app/hi") == 200
        pid = wait_until(lambda: workers(server), what="told to be ready")[-1]["pid"]
        with Connection(server.port, timeout=20) as connection:
            assert connection.request(f"/app/lie-{how}", "POST", fields=["Content-Length: 0"]).status == 502
        wait_until(lambda: not alive(pid), what=f"it is killed: {how}")
        assert show(server)["pool"]["last_failure"].endswith(f"broke the protocol: {sentence}")
        assert fetch(server.port, "/a.txt").body == b"a"
    records = server.settled_records()
    told = {record["path"]: status for record, status in zip(records, sub_statuses(records))}
    assert told == {"/a.txt": "200.0", "/app/hi": "200.0"} | {f"/app/lie-{how}": "502.4" for how in LIES}
