"""The turns of one scenario: the servers are checked, warmed, loaded one after the other, and their own time is taken."""
import contextlib
import http.client
import random
import ssl
import subprocess
import sys
import time
from pathlib import Path

import loads
import peers
import procfs
import report


class WrongAnswer(Exception):
    pass


def get(server, path, headers=()):
    """One request on a connection of its own, over TLS where the server has it: (status, fields, body)."""
    port = server.tls_port or server.port
    unverified = ssl._create_unverified_context() if server.tls_port else None
    connection = http.client.HTTPSConnection(server.host, port, timeout=10, context=unverified) if unverified else \
        http.client.HTTPConnection(server.host, port, timeout=10)
    try:
        connection.request("GET", path, headers=dict(field.split(": ", 1) for field in headers))
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise WrongAnswer(f"{server.name}, port {port}: GET {path}: {error or type(error).__name__}") from error
    finally:
        connection.close()


def check_answers(server, scenario, scratch, headers):
    """Before it counts: the server gives the right answer."""
    paths = [server.path(scenario)]
    if scenario.path == "/":
        listed = Path(next(a for a in loads.expand(scenario, scratch) if a.startswith("paths="))[6:]).read_text().split()
        paths = random.Random(4).sample(listed, 20)
    for path in paths:
        status, _, body = get(server, path, headers)
        want = scenario.body
        if want is None:
            want = b"" if scenario.expect == 304 else (scratch / "www" / path[1:]).read_bytes()
        if status != scenario.expect or (server.serves_files and body != want) or len(body) != len(want):
            raise WrongAnswer(f"{server.name}, {scenario.name}: GET {path} gives {status} and {len(body)} bytes")


@contextlib.contextmanager
def neighbour(core, count=1):
    """Programs that take their shares of a core: the load of one other core then fills what is left for the server. Each has a session
    of its own, as the server has: the kernel divides a core among sessions first (autogroups), and the load is in ours."""
    busy = [subprocess.Popen(["taskset", "-c", str(core), "sh", "-c", "while :; do :; done"], stdin=subprocess.DEVNULL, start_new_session=True)
            for _ in range(count)]
    try:
        yield
    finally:
        for one in busy:
            one.kill()
        for one in busy:
            one.wait()


def measure(server, scenario, scratch, headers, seconds, core):
    """One turn of one server."""
    seconds = max(seconds, scenario.least_s)
    if scenario.fresh:
        server.stop()
        server.start()
    counters = server.counters()
    pids = server.family()
    calls = peers.SystemCalls(scratch, pids) if scenario.calls else None
    before = procfs.cpu_seconds(pids)
    start = time.monotonic()
    with neighbour(server.core) if scenario.crowded else contextlib.nullcontext():
        load = loads.load(server, scenario, scratch, headers, seconds, core)
    elapsed = time.monotonic() - start
    cpu = procfs.cpu_seconds(pids) - before
    counted = calls.stop() if calls else None
    after = server.counters()
    errors = {kind: count for kind, count in load["errors"].items() if count and not (kind == "status" and scenario.expect >= 400)}
    if changed := set(pids) ^ set(server.family()):
        errors["processes that came or went"] = len(changed)
    turn = {
        "requests": load["requests"], "cpu_s": round(cpu, 3), "busy": round(cpu / elapsed, 3),
        "per_cpu_s": round(load["requests"] / max(cpu, 0.01), 1),
        "per_s": round(load["requests"] / (load["duration_us"] / 1e6), 1),
        "latency_us": load["latency_us"], "errors": errors,
        "counters": {name: after[name] - counters.get(name, 0) for name in report.COUNTERS if name in after},
    }
    if counted:
        ours = [count for pid, count in counted.items() if procfs.name(pid) != "penstock-server"]
        turn["calls"] = {"server": sum(counted.values()) - sum(ours), "others": sum(ours)}
    return turn


class Progress:
    """One line on a terminal that says what runs and how long is left; a line per scenario elsewhere."""

    def __init__(self, total):
        self.total, self.done, self.start, self.live = total, 0, time.monotonic(), sys.stderr.isatty()

    def step(self, words):
        if self.live:
            spent = time.monotonic() - self.start
            left = spent / self.done * (self.total - self.done) if self.done else 0
            print(f"\r\033[K[{self.done}/{self.total}] {words}" + (f"   {left:.0f} s left" if self.done else ""), end="", file=sys.stderr, flush=True)
        self.done += 1

    def line(self, words):
        print(("\r\033[K" if self.live else "") + words, file=sys.stderr, flush=True)


def run_scenario(scenario, everyone, scratch, rounds, seconds, core, progress):
    """All rounds of one scenario: {server: [turn, …]}."""
    playing = [s for s in everyone if s.serves_files or scenario.floor]
    headers = {}
    turns = {s.name: [] for s in playing}
    for server in playing:
        server.prepare(scenario)
        headers[server.name] = list(scenario.headers)
        if scenario.validator:
            headers[server.name].append(f"If-None-Match: {get(server, scenario.path)[1]['etag']}")
        check_answers(server, scenario, scratch, headers[server.name])
        if not scenario.fresh:
            loads.load(server, scenario, scratch, headers[server.name], 1, core)
    for turn in range(rounds):
        order = playing[turn % len(playing):] + playing[:turn % len(playing)]  # nobody always goes first
        for server in order:
            progress.step(f"{scenario.what}: {server.name}, round {turn + 1} of {rounds}")
            turns[server.name].append(measure(server, scenario, scratch, headers[server.name], seconds, core))
    progress.line(report.summary_line(scenario, turns))
    return turns
