#!/usr/bin/env python3
"""Measures penstock in turns with its peers, in one run on one machine, over loopback: files beside nginx, h2o and the
bare floor, then applications in pools beside nginx with FastCGI, uWSGI, gunicorn and php-fpm, then what has a bound of
its own.

For each scenario the servers take turns, several rounds of them. The measure is requests per second of CPU time that
the server's processes used (user + system, from /proc): other tenants of the machine can slow a server down, but
they cannot make it use less of its own time. perf/README.md says more.
"""
import argparse
import http.client
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import docroot
import limits
import machine
import peers
import procfs
import report
import report_dynamic
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
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers=dict(field.split(": ", 1) for field in headers))
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise WrongAnswer(f"port {port}: GET {path}: {error or type(error).__name__}") from error
    finally:
        connection.close()


def check_answers(server, scenario, scratch, headers):
    """Before it counts: the server gives the right answer."""
    paths = [server.path(scenario)]
    if scenario.path == "/":
        listed = Path(next(a for a in expand(scenario, scratch) if a.startswith("paths="))[6:]).read_text().split()
        paths = random.Random(4).sample(listed, 20)
    for path in paths:
        status, _, body = get(server.port, path, headers)
        want = scenario.body
        if want is None:
            want = b"" if scenario.expect == 304 else (scratch / "www" / path[1:]).read_bytes()
        if status != scenario.expect or (server.serves_files and body != want) or len(body) != len(want):
            raise WrongAnswer(f"{server.name}, {scenario.name}: GET {path} gives {status} and {len(body)} bytes")


def expand(scenario, scratch):
    return [arg.replace("@DIR@", str(scratch)) for arg in scenario.lua]


def wrk(server, scenario, scratch, headers, seconds, core):
    url = f"http://127.0.0.1:{server.port}{server.path(scenario)}"
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
    pids = server.family()
    calls = peers.SystemCalls(scratch, pids) if scenario.calls else None
    before = procfs.cpu_seconds(pids)
    start = time.monotonic()
    load = wrk(server, scenario, scratch, headers, seconds, core)
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
    everything = scenarios.SCENARIOS + scenarios.DYNAMIC
    parser.add_argument("--quick", action="store_true", help="3 rounds of 1 s: a glance, not a result; the report goes to a scratch folder")
    parser.add_argument("--only", choices=["static", "dynamic", "limits"], help="files, applications in pools, or what has a bound of its own; the reports of the others stay as they are")
    parser.add_argument("--rounds", type=int, help="rounds of turns in each scenario (default 5)")
    parser.add_argument("--seconds", type=int, help="length of one turn (default 2)")
    parser.add_argument("--scenario", action="append", choices=[s.name for s in everything], help="only this one; may be repeated")
    parser.add_argument("--server", action="append", choices=[*servers.KINDS, *peers.KINDS], help="only this one; may be repeated")
    parser.add_argument("--report", type=Path, help="folder of the report (default perf/report; build/bench with --quick or a part only)")
    args = parser.parse_args()
    args.rounds = args.rounds or (3 if args.quick else 5)
    args.seconds = args.seconds or (1 if args.quick else 2)
    if args.report is None:
        args.report = TREE / "build/bench" if args.quick or args.scenario or args.server else REPORT

    def chosen(kind, of):
        return [s for s in of if args.only in (None, kind) and (not args.scenario or s.name in args.scenario)]
    args.static, args.dynamic = chosen("static", scenarios.SCENARIOS), chosen("dynamic", scenarios.DYNAMIC)
    if args.server:
        args.static = args.static if set(args.server) & set(servers.KINDS) else []
        args.dynamic = [s for s in args.dynamic if set(args.server) & set(s.servers)]
    args.limits = args.only == "limits" or args.only is None and not args.scenario and not args.server
    if args.only == "limits":
        args.dynamic = [s for s in scenarios.DYNAMIC if s.name in limits.SCENARIOS]
    if not args.static and not args.dynamic:
        parser.error("nothing to measure: --only, --scenario and --server leave nothing over")
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


def start_peers(scenario, args, scratch, core, absent, versions):
    """Starts those of one scenario; a peer that is not here or does not start is noted, with the reason."""
    running = []
    for name in scenario.servers:
        if name in absent or args.server and name not in args.server:
            continue
        server = peers.KINDS[name](scratch, core)
        try:
            if server.binary() is None:
                raise servers.StartFailed("not built or not installed")
            server.start()
            check_answers(server, scenario, scratch, [])
            versions.setdefault(name, server.version())
            running.append(server)
        except (servers.StartFailed, WrongAnswer) as error:
            server.stop()
            absent[name] = str(error).strip().splitlines()[-1]
            print(f"bench: {name} is left out: {error}", file=sys.stderr)
        except BaseException:
            stop_all([server, *running])
            raise
    return running


def stop_all(running):
    for server in running:
        server.stop()


def described(args, stolen, total):
    stolen_after, total_after = machine.stolen_and_total()
    return {"when": time.strftime("%Y-%m-%d"), "rounds": args.rounds, "seconds": args.seconds,
            "machine": machine.describe() | {"stolen_percent": round(100 * (stolen_after - stolen) / max(1, total_after - total), 2)}}


def run_static(args, scratch, core, load_core):
    print("bench: making the files …", file=sys.stderr)
    files = docroot.make(scratch, scenarios.COLD_FILES)
    names = [name for name in args.server or DEFAULT_SERVERS if name in servers.KINDS]
    running = []
    try:
        running = start_servers(names, scratch, core)
        progress = Progress(sum(args.rounds * len([x for x in running if x.serves_files or s.floor]) for s in args.static))
        stolen = machine.stolen_and_total()
        results = {s.name: run_scenario(s, running, scratch, args.rounds, args.seconds, load_core, progress) for s in args.static}
        return described(args, *stolen) | {
            "files": files,
            "servers": {s.name: s.version() for s in running},
            "scenarios": {s.name: {"what": s.what, "turns": results[s.name]} for s in args.static},
        }
    finally:
        stop_all(running)


def round_trip(core, load_core):
    """From one end of a ring to the other and back, in ns: what perf/micro/ring_bench says, or None without it."""
    program = TREE / "build/perf/micro/ring_bench"
    if not program.exists():
        return None
    done = subprocess.run(["taskset", "-c", f"{core},{load_core}", program, "--benchmark_filter=BM_round_trip", "--benchmark_format=json",
                           "--benchmark_repetitions=5"], capture_output=True, text=True, timeout=120)
    runs = [run for run in json.loads(done.stdout)["benchmarks"] if run["run_type"] == "iteration"] if done.returncode == 0 else []
    return [{"p50_ns": run["p50_ns"], "p99_ns": run["p99_ns"]} for run in runs] or None


def run_dynamic(args, scratch, core, load_core):
    """Each scenario has servers of its own, which end with it."""
    peers.make_applications(scratch)
    (scratch / "www").mkdir(mode=0o755, exist_ok=True)
    (scratch / "www/answer.txt").write_bytes(scenarios.ANSWER_112)
    absent, versions, results = {}, {}, {}
    progress = Progress(sum(args.rounds * s.times * len(set(s.servers) & set(args.server or s.servers)) for s in args.dynamic))
    stolen = machine.stolen_and_total()
    for scenario in args.dynamic:
        running = start_peers(scenario, args, scratch, core, absent, versions)
        try:
            results[scenario.name] = run_scenario(scenario, running, scratch, args.rounds * scenario.times, args.seconds, load_core, progress) if running else {}
        finally:
            stop_all(running)
    return described(args, *stolen) | {
        "servers": versions, "absent": absent, "round_trip": None if args.only == "limits" else round_trip(core, load_core),
        "scenarios": {s.name: {"what": s.what, "app": s.app, "connections": s.connections, "servers": list(s.servers), "turns": results[s.name]}
                      for s in args.dynamic},
    }


def run_limits(args, scratch, core, load_core):
    """The bounds, and those scenarios of applications that have one."""
    rows = limits.measure(core, load_core, args.rounds, lambda words: print(words, file=sys.stderr, flush=True))
    args.dynamic = [s for s in scenarios.DYNAMIC if s.name in limits.SCENARIOS]
    return run_dynamic(args, scratch, core, load_core) | {"rows": rows}


def main():
    args = arguments()
    core, load_core = machine.sibling_free_pair()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    for name, run, write in (("static", run_static, report.write), ("dynamic", run_dynamic, report_dynamic.write), ("limits", run_limits, limits.write)):
        if not getattr(args, name) or args.only not in (None, name):
            continue
        scratch = Path(tempfile.mkdtemp(prefix="penstock-bench-", dir=memory))
        scratch.chmod(0o755)
        try:
            page = write(run(args, scratch, core, load_core), args.report)
            if args.report == REPORT:
                report_dynamic.refresh_readme()
            print(page.read_text())
        except KeyboardInterrupt:
            print(f"\nbench: stopped; nothing was written of {name}", file=sys.stderr)
            sys.exit(130)
        except (servers.StartFailed, WrongAnswer, RuntimeError) as error:
            print(f"\nbench: {error}", file=sys.stderr)
            sys.exit(1)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
