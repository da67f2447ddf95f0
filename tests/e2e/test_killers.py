"""Issue 3 §5: `penstock journal killers` names who died, how, and exactly the requests that were inside."""
import json
import os
import random
import signal

import pytest
from conftest import needs_root
from http_client import Connection, wait_until
from instance import BINARY, ONE_SITE

LIFE = BINARY.parent / "tests/support/apps/life"
KILLS = int(os.environ.get("PENSTOCK_KILLS", "50"))
INSIDE = 32
HANG_EVERY = 10  # a hang costs ping_timeout

# How the last request, or a signal from outside, ends the worker: (kind, signal, exit code).
BY_REQUEST = {"crash": ("signal", "SIGABRT", None), "segv": ("signal", "SIGSEGV", None), "exit3": ("exit", None, 3),
              "leave": ("exit", None, 0), "forbidden": ("sandbox", "SIGKILL", None), "grow": ("memory", "SIGKILL", None)}
BY_SIGNAL = {signal.SIGKILL: ("signal", "SIGKILL", None), signal.SIGSEGV: ("signal", "SIGSEGV", None),
             signal.SIGABRT: ("signal", "SIGABRT", None), signal.SIGSTOP: ("hang", "SIGKILL", None)}


def config(pool=""):
    return (ONE_SITE + "site.main.route.app.prefix = /app\nsite.main.route.app.handler = pool\nsite.main.route.app.pool = life\n"
            f"pool.life.runtime = external\npool.life.app = {LIFE}\npool.life.concurrency = {INSIDE}\npool.life.rapid_fail.enable = 0\n"
            + "".join(f"pool.life.{line}\n" for line in pool.split(";") if line))


def killers(server, *arguments):
    return json.loads(server.cli("journal", "killers", "--json", *arguments).stdout)["killers"]


def in_workers(server):
    """Target → number of the worker, of all requests that a worker has."""
    return {r["target"]: r["worker"] for r in json.loads(server.cli("requests", "--json").stdout)["requests"] if r["worker"]}


def pid_of(server, worker):
    shown = json.loads(server.cli("pool", "show", "life", "--json").stdout)
    return next(w["pid"] for w in shown["workers"] if w["worker"] == worker)


def ask(server, targets, method):
    """One connection each, with the request sent and not answered."""
    made = []
    for target in targets:
        connection = Connection(server.port, timeout=20)
        connection.send(f"{method} {target} HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
        made.append(connection)
    return made


def wait_inside(server, targets):
    """The one worker that has all of them."""
    def found():
        there = in_workers(server)
        numbers = {there.get(target) for target in targets}
        return numbers.pop() if len(numbers) == 1 and None not in numbers else None
    return wait_until(found, seconds=15, what=f"{len(targets)} requests are inside of one worker")


def close(connections):
    for connection in connections:
        connection.close()


def as_told(death):
    return death["kind"], death.get("signal"), death.get("exit_code")


def listed(death):
    return sorted(r["target"] for r in death["requests"])


@needs_root
def test_the_set_inside_is_exact_over_random_kills(make):
    server = make(config("memory_max=48m;ping_interval=100ms;ping_timeout=1s"))
    ways = list(BY_REQUEST) + [s for s in BY_SIGNAL if s != signal.SIGSTOP]
    if "cgroup v" not in json.loads(server.cli("pool", "show", "life", "--json").stdout).get("cgroup", ""):
        ways.remove("grow")
    seed = int(os.environ.get("PENSTOCK_SEED", random.randrange(1 << 32)))
    print("seed", seed)  # PENSTOCK_SEED repeats it
    chance = random.Random(seed)
    for number in range(KILLS):
        server.cli("pool", "start", "life")  # a clean record: no pause before the next start
        way = signal.SIGSTOP if number % HANG_EVERY == 0 else chance.choice(ways)
        # What has been answered is not inside, whoever answered it.
        for connection in ask(server, [f"/app/who?{number}.{i}" for i in range(chance.randrange(4))], "GET"):
            assert connection.read_response().status == 200
            connection.close()
        targets = [f"/app/hold?{number}.{i}" for i in range(INSIDE)]
        if way in BY_REQUEST:
            targets[-1] = f"/app/{way}?{number}"
            connections = ask(server, targets[:-1], "POST")
            worker = wait_inside(server, targets[:-1])
            pid = pid_of(server, worker)
            connections += ask(server, targets[-1:], "POST")
            told = BY_REQUEST[way]
        else:
            connections = ask(server, targets, "POST")
            worker = wait_inside(server, targets)
            pid = pid_of(server, worker)
            os.kill(pid, way)
            told = BY_SIGNAL[way]
        assert [c.read_response().status for c in connections] == [502] * INSIDE, way
        close(connections)
        death = killers(server, "life")[0]
        assert (death["number"], death["worker"], death["pid"]) == (number + 1, worker, pid), (way, death)
        assert listed(death) == sorted(targets), way
        assert as_told(death) == told, (way, death)
        assert (death["left_out"], death["closed"]) == (0, [])
    kept = killers(server)
    assert len(kept) == min(KILLS, 100)
    assert [d["number"] for d in kept] == list(range(KILLS, KILLS - len(kept), -1))


@needs_root
def test_a_request_that_is_tried_again_is_told_of_both_workers_and_one_that_waits_of_none(make):
    server = make(config())
    targets = [f"/app/hold?{i}" for i in range(INSIDE)]
    connections = ask(server, targets, "GET")
    for turn in range(2):
        worker = wait_inside(server, targets)
        connections += ask(server, [f"/app/who?waits{turn}"], "GET")
        wait_until(lambda: f"/app/who?waits{turn}" in server.cli("requests", "--json").stdout, what="one waits")
        os.kill(pid_of(server, worker), signal.SIGSEGV)
        wait_until(lambda: any(d["worker"] == worker for d in killers(server)), what="it is told")
        death = killers(server)[0]
        assert death["worker"] == worker and listed(death) == sorted(targets)
    assert [c.read_response().status for c in connections] == [502] * INSIDE + [200] * 2
    close(connections)


@needs_root
def test_a_frozen_worker_is_told_when_it_is_frozen_and_once(make):
    server = make(config("ping_interval=200ms;ping_timeout=1s;orphan.enable=1;orphan.ttl=1s"))
    targets = [f"/app/hold?{i}" for i in range(3)]
    connections = ask(server, targets, "POST")
    worker = wait_inside(server, targets)
    pid = pid_of(server, worker)
    os.kill(pid, signal.SIGSTOP)
    assert {c.read_response().status for c in connections} == {502}
    close(connections)
    death = killers(server)[0]
    assert as_told(death) == ("hang", None, None) and listed(death) == targets and "frozen" in death["how"]
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"), what="its time is over")
    assert len(killers(server)) == 1


def test_a_request_that_took_too_long_is_told_by_its_number(make):
    server = make(config("request_timeout=500ms"))
    with Connection(server.port, timeout=20) as connection:
        assert connection.request("/app/deaf?1").status == 502
    death = wait_until(lambda: (killers(server) or [None])[0], what="it is told")
    assert death["kind"] == "overdue" and death["requests"] == [] and len(death["closed"]) == 1


@needs_root
def test_a_server_is_told_with_all_that_was_open(make):
    server = make(config())
    targets = [f"/app/hold?{i}" for i in range(5)]
    connections = ask(server, targets, "POST")
    wait_inside(server, targets)
    old = server.role("server")
    os.kill(old, signal.SIGKILL)
    death = wait_until(lambda: (killers(server) or [None])[0], what="it is told")
    close(connections)
    assert (death["process"], death["pid"], death["signal"]) == ("server", old, "SIGKILL")
    assert set(targets) <= set(listed(death))
    assert killers(server, "life") == []


def test_an_end_as_it_should_be_is_not_told(make):
    server = make(config("idle_timeout=1s"))
    assert server.cli("journal", "killers").stdout == "no process has ended as it should not have\n"
    with Connection(server.port) as connection:
        assert connection.request("/app/who").status == 200
    server.cli("pool", "recycle", "life")
    wait_until(lambda: json.loads(server.cli("pool", "show", "life", "--json").stdout)["workers"] == [], seconds=10, what="all have left")
    server.cli("restart-server")
    assert killers(server) == []


def test_the_table_names_process_end_and_requests(make):
    server = make(config())
    connections = ask(server, ["/app/crash?a"], "POST")
    assert connections[0].read_response().status == 502
    close(connections)
    text = server.cli("journal", "killers").stdout
    assert "pool life worker 1 (pid " in text and "was killed by SIGABRT after" in text
    assert "[signal, 1 request inside]" in text and "POST h/app/crash?" in text
    assert server.cli("journal", "killers", "other").stdout == "no process has ended as it should not have\n"
