#!/usr/bin/env python3
"""Measures penstock in turns with nginx, h2o and the bare floor, in one run on one machine, over loopback.

For each scenario the servers take turns, several rounds of them. The measure is requests per second of CPU time that
the server's processes used (user + system, from /proc): other tenants of the machine can slow a server down, but
they cannot make it use less of its own time. perf/README.md says more.
"""
import argparse
import json
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import docroot
import machine
import procfs
import report
import scenarios
import servers

HERE = Path(__file__).resolve().parent
TREE = HERE.parents[1]
REPORT = TREE / "perf/report"
DEFAULT_SERVERS = ["penstock", "nginx", "h2o", "floor", "floor-epoll"]


class WrongAnswer(Exception):
    pass


def get(port, path, headers=()):
    """One request on a connection of its own: (status, fields, body)."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *headers, "", ""]
        sock.sendall("\r\n".join(lines).encode())
        data = b""
        while b"\r\n\r\n" not in data:
            part = sock.recv(1 << 16)
            if not part:
                raise WrongAnswer(f"port {port}: GET {path} ends in {data!r}")
            data += part
        head, _, body = data.partition(b"\r\n\r\n")
        first, *rest = head.decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
        status = int(first.split()[1])
        while status != 304 and len(body) < int(fields["content-length"]) and (part := sock.recv(1 << 16)):
            body += part
    return status, fields, body


def check_answers(server, scenario, scratch, headers):
    """Before it counts: the server gives the right answer."""
    paths = [scenario.path]
    if scenario.path == "/":
        listed = Path(next(a for a in expand(scenario, scratch) if a.startswith("paths="))[6:]).read_text().split()
        paths = random.Random(4).sample(listed, 20)
    for path in paths:
        status, _, body = get(server.port, path, headers)
        want = b"" if scenario.expect == 304 else (scratch / "www" / path[1:]).read_bytes()
        if status != scenario.expect or (server.serves_files and body != want) or len(body) != len(want):
            raise WrongAnswer(f"{server.name}, {scenario.name}: GET {path} gives {status} and {len(body)} bytes")


def expand(scenario, scratch):
    return [arg.replace("@DIR@", str(scratch)) for arg in scenario.lua]


def wrk(server, scenario, scratch, headers, seconds, core):
    url = f"http://127.0.0.1:{server.port}{scenario.path}"
    arguments = [field.replace(": ", ":", 1) for field in headers]
    command = ["taskset", "-c", str(core), "wrk", "-t1", f"-c{scenario.connections}", f"-d{seconds}s", "--timeout", "10s",
               "-s", str(HERE / "load.lua"), url, "--", *expand(scenario, scratch), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or not lines:
        raise RuntimeError(f"wrk failed: {done.stdout}{done.stderr}")
    return json.loads(lines[-1])


def measure(server, scenario, scratch, headers, seconds, core):
    """One turn of one server."""
    if scenario.fresh:
        server.stop()
        server.start()
    counters = server.counters()
    before = procfs.cpu_seconds(server.pids)
    start = time.monotonic()
    load = wrk(server, scenario, scratch, headers, seconds, core)
    cpu = procfs.cpu_seconds(server.pids) - before
    elapsed = time.monotonic() - start
    after = server.counters()
    errors = {kind: count for kind, count in load["errors"].items() if count and not (kind == "status" and scenario.expect >= 400)}
    return {
        "requests": load["requests"], "cpu_s": round(cpu, 3), "busy": round(cpu / elapsed, 3),
        "per_cpu_s": round(load["requests"] / max(cpu, 0.01), 1),
        "per_s": round(load["requests"] / (load["duration_us"] / 1e6), 1),
        "latency_us": load["latency_us"], "errors": errors,
        "counters": {name: after[name] - counters.get(name, 0) for name in report.COUNTERS if name in after},
    }


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
            headers[server.name].append(f"If-None-Match: {get(server.port, scenario.path)[1]['etag']}")
        check_answers(server, scenario, scratch, headers[server.name])
        if not scenario.fresh:
            wrk(server, scenario, scratch, headers[server.name], 1, core)
    for turn in range(rounds):
        order = playing[turn % len(playing):] + playing[:turn % len(playing)]  # nobody always goes first
        for server in order:
            progress.step(f"{scenario.what}: {server.name}, round {turn + 1} of {rounds}")
            turns[server.name].append(measure(server, scenario, scratch, headers[server.name], seconds, core))
    progress.line(report.summary_line(scenario, turns))
    return turns


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="3 rounds of 1 s: a glance, not a result; the report goes to a scratch folder")
    parser.add_argument("--rounds", type=int, help="rounds of turns in each scenario (default 5)")
    parser.add_argument("--seconds", type=int, help="length of one turn (default 2)")
    parser.add_argument("--scenario", action="append", choices=[s.name for s in scenarios.SCENARIOS], help="only this one; may be repeated")
    parser.add_argument("--server", action="append", choices=list(servers.KINDS), help="only this one; may be repeated")
    parser.add_argument("--report", type=Path, help="folder of the report (default perf/report; build/bench with --quick or a part only)")
    args = parser.parse_args()
    args.rounds = args.rounds or (3 if args.quick else 5)
    args.seconds = args.seconds or (1 if args.quick else 2)
    if args.report is None:
        args.report = TREE / "build/bench" if args.quick or args.scenario or args.server else REPORT
    return args


def start_servers(names, scratch, core):
    """Starts each; what is not built or installed is left out with a line."""
    running = []
    for name in names:
        server = servers.KINDS[name](scratch, core)
        if server.binary() is None:
            print(f"bench: {name} is not here; left out", file=sys.stderr)
            continue
        running.append(server)
        server.start()
    if not running:
        raise SystemExit("bench: no server to measure")
    return running


def main():
    args = arguments()
    wanted = [s for s in scenarios.SCENARIOS if not args.scenario or s.name in args.scenario]
    core, load_core = machine.sibling_free_pair()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    scratch = Path(tempfile.mkdtemp(prefix="penstock-bench-", dir=memory))
    scratch.chmod(0o755)
    running = []
    try:
        print("bench: making the files …", file=sys.stderr)
        files = docroot.make(scratch, scenarios.COLD_FILES)
        running = start_servers(args.server or DEFAULT_SERVERS, scratch, core)
        progress = Progress(sum(args.rounds * len([x for x in running if x.serves_files or s.floor]) for s in wanted))
        stolen, total = machine.stolen_and_total()
        results = {s.name: run_scenario(s, running, scratch, args.rounds, args.seconds, load_core, progress) for s in wanted}
        stolen_after, total_after = machine.stolen_and_total()
        data = {
            "when": time.strftime("%Y-%m-%d"), "rounds": args.rounds, "seconds": args.seconds, "files": files,
            "machine": machine.describe() | {"stolen_percent": round(100 * (stolen_after - stolen) / max(1, total_after - total), 2)},
            "servers": {s.name: s.version() for s in running},
            "scenarios": {s.name: {"what": s.what, "turns": results[s.name]} for s in wanted},
        }
        report.write(data, args.report)
        if args.report == REPORT:
            report.README.write_text(report.readme_with_table(data))
        print((args.report / "README.md").read_text())
    except KeyboardInterrupt:
        print("\nbench: stopped; nothing was written", file=sys.stderr)
        sys.exit(130)
    except (servers.StartFailed, WrongAnswer, RuntimeError) as error:
        print(f"\nbench: {error}", file=sys.stderr)
        sys.exit(1)
    finally:
        for server in running:
            server.stop()
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
