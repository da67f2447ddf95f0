"""Issue 3 §5: worker processes are started, scaled, replaced, ended and kept, and no request pays for it."""
import json
import os
import signal
import threading
import time
from statistics import median

import pytest
from conftest import needs_root
from http_client import Closed, Connection, wait_until
from instance import BINARY, ONE_SITE, QUICK, children, command_line, cpu_seconds, family, resident, stat_fields

LIFE = BINARY.parent / "tests/support/apps/life"
RECYCLES = int(os.environ.get("PENSTOCK_RECYCLES", 20 if QUICK else 100))  # 1,000 in the long run
STOPS = int(os.environ.get("PENSTOCK_STOPS", 1 if QUICK else 3))


def config(pool="", app=LIFE):
    return (ONE_SITE + "site.main.route.app.prefix = /app\nsite.main.route.app.handler = pool\nsite.main.route.app.pool = life\n"
            f"pool.life.runtime = external\npool.life.app = {app}\n" + "".join(f"pool.life.{line}\n" for line in pool.split(";") if line))


def alive(pid):
    try:
        return stat_fields(pid)[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def show(server):
    return json.loads(server.cli("pool", "show", "life", "--json").stdout)


def workers(server, state="ready"):
    return [w for w in show(server)["workers"] if state in (None, w["state"])]


def fetch(port, target):
    with Connection(port, timeout=20) as connection:
        return connection.request(target)


def requests(server):
    return json.loads(server.cli("requests", "--json").stdout)["requests"]


def who_answers(server):
    answer = fetch(server.port, "/app/who")
    assert answer.status == 200, answer
    return int(answer.body)


def pid_of(server):
    """The process of the newest worker, after a request that needs one."""
    who_answers(server)
    return wait_until(lambda: workers(server), what="told to be ready")[-1]["pid"]  # its answer may be here before that


def status_of(server, target):
    """The status of an answer, or 0 where the connection was cut."""
    try:
        return fetch(server.port, target).status
    except (Closed, OSError):
        return 0


class Load:
    """Threads that ask without a pause, and count what is not 200."""

    def __init__(self, server, target="/app/who", threads=4):
        self.server, self.target, self.done, self.failed = server, target, 0, []
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self.work) for _ in range(threads)]

    def work(self):
        while not self.stopping.is_set():
            status = status_of(self.server, self.target)
            if status == 200:
                self.done += 1
            else:
                self.failed.append(status)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join()


# --- how many ------------------------------------------------------------------------------------

def test_the_first_request_starts_a_worker_which_stops_when_idle(make):
    server = make(config("idle_timeout=32s;idle_memory=1"))  # of memory more than that is in use: a 32nd of the time
    assert workers(server, None) == []
    pid = pid_of(server)
    assert pid_of(server) == pid
    wait_until(lambda: not alive(pid), what="the idle worker has ended")
    words = server.output()
    assert "keeps idle workers for 1.0 s: " in words and "idle for 1." in words
    assert pid_of(server) != pid


@pytest.mark.alone
def test_the_first_request_of_a_stopped_pool_is_answered_within_100_ms(make):
    server = make(config())
    spans = []
    for _ in range(5):
        began = time.monotonic()
        assert fetch(server.port, "/app/who").status == 200
        spans.append(time.monotonic() - began)
        server.cli("pool", "stop", "life")
        wait_until(lambda: not workers(server, None), what="the workers have ended")
        server.cli("pool", "start", "life")
    assert sorted(spans)[2] <= 0.1, spans


def test_workers_min_run_without_a_request_and_delay_starts_more(make):
    server = make(config("workers_min=1;workers_max=3;concurrency=1;scale_delay=20ms"))
    wait_until(lambda: len(workers(server)) == 1, what="workers_min are ready")
    with Load(server, "/app/echo", threads=16) as load:
        wait_until(lambda: len(workers(server)) == 3, what="three are ready")
        time.sleep(0.3)
        assert len(workers(server, None)) <= 3
    assert load.failed == []


# --- recycling -----------------------------------------------------------------------------------

def test_recycling_by_command_under_load_fails_no_request(make):
    server = make(config())
    with Load(server) as load:
        wait_until(lambda: load.done > 10, what="the load is on")
        for number in range(1, RECYCLES + 1):
            server.cli("pool", "recycle", "life")
            wait_until(lambda: show(server)["pool"]["recycled"] >= number, what=f"recycled {number} times")
    assert load.failed == []
    assert load.done > RECYCLES
    assert show(server)["pool"]["failures"] == 0


@pytest.mark.parametrize("rule, cause", [("recycle.requests=50", "requests"), ("recycle.time=1s", "recycled after"),
                                         ("recycle.memory=40m", "MiB of memory"), ("recycle.cpu=1;recycle.cpu_window=1s", "of CPU time in")])
def test_recycling_by_a_limit_under_load_fails_no_request(make, rule, cause):
    server = make(config(rule))
    with Load(server) as load:
        first = pid_of(server)
        if "memory" in rule:
            assert status_of(server, "/app/grow") == 200
        wait_until(lambda: show(server)["pool"]["recycled"] >= 1, what="recycled")
        wait_until(lambda: not alive(first), what="the old worker has ended")
    assert load.failed == []
    assert cause in server.output()


@pytest.mark.parametrize("target", ["/app/slow", "/app/hold"])
def test_a_worker_that_is_replaced_finishes_what_is_inside(make, target):
    server = make(config())
    first = who_answers(server)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(fetch(server.port, target)))
    thread.start()
    wait_until(lambda: any(target in r["target"] for r in json.loads(server.cli("requests", "--json").stdout)["requests"]),
               what="it is inside")
    server.cli("pool", "recycle", "life")
    thread.join()
    assert answers[0].status == 200 and int(answers[0].body) == first


def test_changed_settings_and_a_changed_file_bring_new_workers(make, open_folder):
    app = open_folder / "life"
    app.write_bytes(LIFE.read_bytes())
    app.chmod(0o755)
    server = make(config(app=app))
    with Load(server) as load:
        first = pid_of(server)
        server.cli("sysctl", "-w", "pool.life.concurrency=7")
        wait_until(lambda: not alive(first), what="replaced for its settings")
        second = pid_of(server)
        time.sleep(2.2)  # the file is looked at once a second
        fresh = open_folder / "fresh"
        fresh.write_bytes(LIFE.read_bytes())
        fresh.chmod(0o755)
        fresh.rename(app)
        wait_until(lambda: not alive(second), what="replaced for its file")
    assert load.failed == []
    assert "its settings have changed" in server.output() and "has changed" in server.output()


def test_a_replacement_that_does_not_start_leaves_the_old_worker_in_service(make):
    server = make(config("rapid_fail.crashes=1000"))
    pid = pid_of(server)
    server.cli("sysctl", "-w", f"pool.life.app={LIFE} die")
    wait_until(lambda: show(server)["pool"]["failures"] >= 2, what="its replacements have failed")
    assert pid_of(server) == pid


# --- sick workers --------------------------------------------------------------------------------

def test_a_crash_is_replaced_and_told_with_the_request(make):
    server = make(config())
    pid = pid_of(server)
    assert status_of(server, "/app/crash") == 502
    assert pid_of(server) != pid
    words = server.output()
    assert f"(pid {pid}): was killed by SIGABRT" in words
    assert "GET /app/crash" in words


def test_a_worker_that_leaves_by_itself_is_no_failure(make):
    server = make(config())
    pid_of(server)
    wait_until(lambda: workers(server)[0]["served"] > 0, what="its work is known")
    status_of(server, "/app/leave")
    pid_of(server)
    # It left once for the request, and once more where that was tried again.
    assert show(server)["pool"]["failures"] <= 1


@needs_root
def test_a_stopped_process_is_found_and_replaced(make):
    server = make(config("ping_interval=200ms;ping_timeout=1s"))
    pid = pid_of(server)
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    wait_until(lambda: not alive(pid), seconds=10, what="the stopped worker is killed")
    assert time.monotonic() - began < 5
    assert pid_of(server) != pid
    assert "does not answer and is killed" in server.output()


@needs_root
@pytest.mark.alone
def test_a_stopped_process_is_found_within_five_seconds_by_default(make):
    server = make(config())
    pid = pid_of(server)
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    wait_until(lambda: "does not answer and is killed" in server.words.read_text(), seconds=10, what="it is found")
    assert time.monotonic() - began <= 5.2  # the look itself takes its time


@needs_root
def test_an_orphan_is_frozen_acted_on_and_ended(make, tmp_path):
    note = tmp_path / "note"
    action = tmp_path / "action"
    action.write_text(f"#!/bin/sh\necho \"$@\" > {note}.new && mv {note}.new {note}\n")
    action.chmod(0o755)
    server = make(config(f"ping_interval=200ms;ping_timeout=1s;orphan.enable=1;orphan.action={action};orphan.ttl=2s"))
    pid = pid_of(server)
    with Connection(server.port) as inside:
        inside.send("POST /app/hold HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n")
        request = wait_until(lambda: [r for r in requests(server) if r["worker"]], what="it is inside")[0]
        os.kill(pid, signal.SIGSTOP)
        wait_until(note.exists, what="the action has run")
    assert note.read_text().split() == [str(pid), "life", "1", f"{request['connection']}-{request['number']}"]
    assert [w["pid"] for w in workers(server, "frozen")] == [pid]
    assert pid_of(server) != pid
    wait_until(lambda: not alive(pid), what="its time is over")


@needs_root
@pytest.mark.alone
def test_the_place_of_an_orphan_is_taken_within_200_ms_and_orphans_are_bounded(make):
    """DY13."""
    server = make(config("ping_interval=200ms;ping_timeout=1s;orphan.enable=1;orphan.max=2"))
    spans, orphans = [], []
    for _ in range(3):
        orphans.append(pid_of(server))
        os.kill(orphans[-1], signal.SIGSTOP)
        words = f"(pid {orphans[-1]}): does not answer"
        wait_until(lambda: words in server.words.read_text(), seconds=10, every=0.005, what="it is found")
        began = time.monotonic()
        who_answers(server)
        spans.append(time.monotonic() - began)
    assert median(spans) <= 0.2, spans
    wait_until(lambda: not alive(orphans[2]), what="the third is one too many")
    assert [w["pid"] for w in workers(server, "frozen")] == orphans[:2]


@pytest.mark.parametrize("how", ["loop", "sleep", "deaf"])
def test_a_request_that_takes_too_long_is_ended_with_its_worker(make, how):
    server = make(config("request_timeout=500ms"))
    pid = pid_of(server)
    began = time.monotonic()
    assert status_of(server, f"/app/{how}") in (504, 503, 502)
    assert time.monotonic() - began < 5
    wait_until(lambda: not alive(pid), what="the worker has ended")
    assert pid_of(server) != pid
    assert show(server)["pool"]["failures"] == 0


@pytest.mark.alone
@pytest.mark.parametrize("how", ["loop", "sleep", "deaf"])
def test_a_time_out_is_kept_to_and_the_next_request_is_served_soon(make, how):
    late, refill = [], []
    for _ in range(3):
        server = make(config("request_timeout=500ms"))
        pid_of(server)
        began = time.monotonic()
        assert status_of(server, f"/app/{how}") != 200
        late.append(time.monotonic() - began - 0.5)
        began = time.monotonic()
        who_answers(server)
        refill.append(time.monotonic() - began)
    assert -0.1 <= median(late) <= 0.1, late
    assert median(refill) <= 0.2, refill


def test_five_failures_take_the_pool_out_and_a_probe_brings_it_back(make, open_folder):
    switch = open_folder / "broken"
    switch.write_text("")
    server = make(config("rapid_fail.probe=500ms;identity=free", app=f"{LIFE} die-if {switch}") + f"identity.free.read = {open_folder}\n")
    assert status_of(server, "/app/who") == 503
    wait_until(lambda: show(server)["pool"]["state"] == "failed", what="out of service")
    assert show(server)["pool"]["failures"] >= 5
    assert status_of(server, "/app/who") == 503
    switch.unlink()
    wait_until(lambda: show(server)["pool"]["state"] == "trial", what="one worker is on trial")
    pid_of(server)
    wait_until(lambda: show(server)["pool"]["state"] == "serving", what="back in service")


def test_stop_answers_503_and_start_serves_again(make):
    server = make(config("workers_min=1"))
    pid = pid_of(server)
    server.cli("pool", "stop", "life")
    assert status_of(server, "/app/who") == 503
    wait_until(lambda: not alive(pid), what="its worker has ended")
    server.cli("pool", "start", "life")
    assert pid_of(server) != pid
    assert server.cli("pool", "stop", "nobody", check=False).returncode == 1


def test_tables_say_what_runs(make):
    server = make(config("workers_max=2"))
    assert "life  serving  external  0/2" in server.cli("pool", "list").stdout
    assert "1 without a worker" in server.cli("status").stdout
    pid = pid_of(server)
    shown = server.cli("pool", "show", "life").stdout
    assert str(pid) in shown and "a request waits" in shown and str(LIFE) in shown
    assert "life  serving  1 of 2 workers ready" in server.cli("status").stdout
    assert "its workers are being replaced" in server.cli("pool", "recycle", "life").stdout
    assert "pool life: stopped" in server.cli("pool", "stop", "life").stdout
    assert "life  stopped" in server.cli("status").stdout
    for verb in ("show", "start", "stop", "recycle"):
        done = server.cli("pool", verb, "nobody", check=False)
        assert done.returncode == 1 and "no pool is named 'nobody'" in done.stderr


# --- processes of ours ---------------------------------------------------------------------------

def test_workers_outlive_their_server(make, user):
    server = make(config(), user=user)
    pid = pid_of(server)
    old = server.role("server")
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: server.role("server") != old, what="another server")
    assert pid_of(server) == pid


def test_a_server_is_replaced_under_load_and_no_request_fails(make):
    server = make(config() + "server.drain_idle_timeout = 10s\n")
    with Load(server) as load:
        wait_until(lambda: load.done > 10, what="the load is on")
        for _ in range(5):
            server.cli("restart-server")
    assert load.failed == []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_no_worker_outlives_the_supervisor(make, how, user):
    server = make(config("workers_min=3;workers_max=3"), user=user)
    wait_until(lambda: len(workers(server)) == 3, what="three are ready")
    pids = family(server.process.pid)
    assert sum("apps/life" in command_line(pid) for pid in pids) == 3
    server.process.send_signal(how)
    server.process.wait(20)
    deadline = time.monotonic() + 5
    while (left := [f"{pid} {command_line(pid)}" for pid in pids if alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not left


@pytest.mark.parametrize("number", range(STOPS))
def test_a_stop_finishes_what_is_inside(make, number):
    """DY20."""
    server = make(config("request_timeout=20s"))
    pid_of(server)
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(status_of(server, "/app/echo"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    process = server.process
    process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join()
    assert process.wait(20) == 0
    assert answers.count(200) == 8, answers


@pytest.mark.parametrize("how", ["stop", "restart-server"])
def test_an_end_does_not_wait_for_a_request_whose_client_has_gone(make, how):
    """DY20: what tells is an answer to something that is sent, for a client may have shut its half alone."""
    server = make(config("request_timeout=0;ping_interval=0") + "server.drain_timeout = 60s\n")
    pid_of(server)
    for target in ("/app/sleep", "/app/who"):  # inside, and behind it
        with Connection(server.port) as connection:
            connection.send(f"GET {target} HTTP/1.1\r\nHost: h\r\n\r\n")
            wait_until(lambda: any(r["target"] == target for r in requests(server)), what="it is inside")
    began = time.monotonic()
    if how == "stop":
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
    else:
        old = server.role("server")
        server.cli("restart-server")
        wait_until(lambda: not alive(old), seconds=30, what="the old server has ended")
    assert time.monotonic() - began < 20  # of a minute


def test_output_of_workers_reaches_the_operator_and_is_bounded(make):
    server = make(config())
    assert status_of(server, "/app/print") == 200
    pid = pid_of(server)
    wait_until(lambda: "line 0" in server.words.read_text(), what="the first line")
    words = server.words.read_text()
    assert f"pool life worker 1 (pid {pid}): line 0\n" in words
    assert words.count(": line ") <= 250


@needs_root
@pytest.mark.alone
def test_limits_hold_the_pool_down(make):
    server = make(config("cpu_limit=10;memory_max=64m;request_timeout=0;ping_interval=0") + "server.drain_timeout = 1s\n")
    pid = pid_of(server)
    if "cgroup v" not in show(server).get("cgroup", ""):
        pytest.skip("no control groups here: " + show(server).get("cgroup", ""))
    threading.Thread(target=lambda: status_of(server, "/app/loop"), daemon=True).start()
    wait_until(lambda: cpu_seconds(pid) > 0.05, what="it computes")
    before, began = cpu_seconds(pid), time.monotonic()
    time.sleep(5)
    share = (cpu_seconds(pid) - before) / (time.monotonic() - began)
    assert 0.08 <= share <= 0.12, share


@needs_root
def test_a_pool_at_its_memory_max_loses_the_worker_and_says_why(make):
    server = make(config("memory_max=48m"))
    pid = pid_of(server)
    if "cgroup v" not in show(server).get("cgroup", ""):
        pytest.skip("no control groups here: " + show(server).get("cgroup", ""))
    assert status_of(server, "/app/grow") == 502
    assert pid_of(server) != pid
    assert "was killed by SIGKILL (the pool has reached its memory_max)" in server.words.read_text()


def test_a_pool_that_is_removed_ends_its_workers(make):
    server = make(config() + f"pool.other.runtime = external\npool.other.app = {LIFE}\npool.other.workers_min = 2\npool.other.workers_max = 2\n")

    def others():
        return json.loads(server.cli("pool", "show", "other", "--json").stdout)["workers"]
    wait_until(lambda: [w["state"] for w in others()] == ["ready"] * 2, what="both are ready")
    pids = [w["pid"] for w in others()]
    server.cli("sysctl", "-w", "pool.other=")
    wait_until(lambda: not any(alive(pid) for pid in pids), what="its workers have ended")
    wait_until(lambda: server.cli("pool", "show", "other", check=False).returncode == 1, what="it is gone")


@pytest.mark.alone
def test_two_thousand_idle_pools_cost_nothing_much(make):
    def lines(count):
        return ONE_SITE + "".join(
            f"pool.p{n}.app = {LIFE}\npool.p{n}.runtime = external\nsite.main.route.r{n}.prefix = /r{n}\n"
            f"site.main.route.r{n}.handler = pool\nsite.main.route.r{n}.pool = p{n}\n" for n in range(count))
    without = make(lines(0))
    before = resident(without.role("server"))
    spans = []
    for _ in range(3):
        began = time.monotonic()
        server = make(lines(2000))
        spans.append(time.monotonic() - began)
        assert resident(server.role("server")) - before <= 64 << 20
        if len(spans) < 3:
            server.stop()
    assert median(spans) <= 1, spans
    supervisor = server.process.pid
    assert len(os.listdir(f"/proc/{supervisor}/fd")) < 60
    assert len(json.loads(server.cli("pool", "list", "--json").stdout)["pools"]) == 2000
    assert len(children(supervisor)) == 2
