#!/usr/bin/env python3
"""Measures penstock in turns with its peers, in one run on one machine, over loopback: files beside nginx, h2o and the
bare floor, then applications in pools beside nginx with FastCGI, uWSGI, gunicorn and php-fpm, then TLS and HTTP/2 beside
nginx and h2o, then what has a bound of its own.

For each scenario the servers take turns, several rounds of them. The measure is requests per second of CPU time that
the server's processes used (user + system, from /proc): other tenants of the machine can slow a server down, but
they cannot make it use less of its own time. perf/README.md says more.
"""
import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import bypass
import docroot
import limits
import machine
import peers
import report
import report_dynamic
import report_tls
import scenarios
import secure
import servers
from servers import TREE
from turns import Progress, WrongAnswer, check_answers, run_scenario

REPORT = TREE / "perf/report"
DEFAULT_SERVERS = ["penstock", "nginx", "h2o", "floor", "floor-epoll"]


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    everything = scenarios.SCENARIOS + scenarios.DYNAMIC + scenarios.TLS
    parser.add_argument("--quick", action="store_true", help="3 rounds of 1 s: a glance, not a result; the report goes to a scratch folder")
    parser.add_argument("--only", choices=["static", "dynamic", "tls", "dpdk", "limits"], help="files, applications in pools, TLS and HTTP/2, past the kernel, or what has a bound of its own; the reports of the others stay as they are")
    parser.add_argument("--rounds", type=int, help="rounds of turns in each scenario (default 5)")
    parser.add_argument("--seconds", type=int, help="length of one turn (default 2)")
    parser.add_argument("--scenario", action="append", choices=sorted({s.name for s in everything + bypass.SCENARIOS}), help="only this one; may be repeated")
    parser.add_argument("--server", action="append", choices=[*(servers.KINDS | peers.KINDS | secure.KINDS | bypass.KINDS)], help="only this one; may be repeated")
    parser.add_argument("--report", type=Path, help="folder of the report (default perf/report; build/bench with --quick or a part only)")
    args = parser.parse_args()
    args.rounds = args.rounds or (3 if args.quick else 5)
    args.seconds = args.seconds or (1 if args.quick else 2)
    if args.report is None:
        args.report = TREE / "build/bench" if args.quick or args.scenario or args.server else REPORT

    def chosen(kind, of):
        return [s for s in of if args.only in (None, kind) and (not args.scenario or s.name in args.scenario)]
    args.static, args.dynamic, args.tls = (chosen(kind, of) for kind, of in (("static", scenarios.SCENARIOS), ("dynamic", scenarios.DYNAMIC), ("tls", scenarios.TLS)))
    if args.server:
        args.static = args.static if set(args.server) & set(servers.KINDS) else []
        args.dynamic, args.tls = ([s for s in some if set(args.server) & set(s.servers)] for some in (args.dynamic, args.tls))
    args.dpdk = chosen("dpdk", bypass.SCENARIOS) if args.only == "dpdk" or not args.scenario and not args.server else []
    args.limits = args.only == "limits" or args.only is None and not args.scenario and not args.server
    if args.only == "limits":
        args.dynamic = [s for s in scenarios.DYNAMIC if s.name in limits.SCENARIOS]
    if not args.static and not args.dynamic and not args.tls and not args.dpdk:
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


def start_peers(kinds, scenario, args, scratch, core, absent, versions):
    """Starts those of one scenario; a peer that is not here or does not start is noted, with the reason."""
    running = []
    for name in scenario.servers:
        if name in absent or args.server and name not in args.server:
            continue
        server = kinds[name](scratch, core)
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
    """From one end of a ring to the other and back, in ns and system calls: what perf/micro/ring_bench says, or None without it."""
    program = TREE / "build/perf/micro/ring_bench"
    if not program.exists():
        return None
    done = subprocess.run(["taskset", "-c", f"{core},{load_core}", program, "--benchmark_filter=BM_round_trip", "--benchmark_format=json",
                           "--benchmark_repetitions=5"], capture_output=True, text=True, timeout=120)
    runs = [run for run in json.loads(done.stdout)["benchmarks"] if run["run_type"] == "iteration"] if done.returncode == 0 else []
    return [{name: run[name] for name in ("p50_ns", "p99_ns", "calls")} for run in runs] or None


def run_in_groups(kinds, chosen, args, scratch, core, load_core):
    """Scenarios with servers of their own, which end with each: what stands in the report of all of them."""
    absent, versions, results = {}, {}, {}
    progress = Progress(sum(args.rounds * s.times * len(set(s.servers) & set(args.server or s.servers)) for s in chosen))
    stolen = machine.stolen_and_total()
    for scenario in chosen:
        running = start_peers(kinds, scenario, args, scratch, core, absent, versions)
        try:
            results[scenario.name] = run_scenario(scenario, running, scratch, args.rounds * scenario.times, args.seconds, load_core, progress) if running else {}
        finally:
            stop_all(running)
    return described(args, *stolen) | {
        "servers": versions, "absent": absent,
        "scenarios": {s.name: {"what": s.what, "app": s.app, "connections": s.connections, "servers": list(s.servers), "turns": results[s.name]}
                      for s in chosen},
    }


def run_dynamic(args, scratch, core, load_core):
    peers.make_applications(scratch)
    (scratch / "www").mkdir(mode=0o755, exist_ok=True)
    (scratch / "www/answer.txt").write_bytes(scenarios.ANSWER_112)
    measured = run_in_groups(peers.KINDS, args.dynamic, args, scratch, core, load_core)
    return measured | {"round_trip": None if args.only == "limits" else round_trip(core, load_core)}


def run_tls(args, scratch, core, load_core):
    docroot.make_sizes(scratch)
    secure.make_certificate(scratch)
    measured = run_in_groups(secure.KINDS, args.tls, args, scratch, core, load_core)
    parts = () if args.scenario or args.server else (limits.idle_tls_memory, limits.certificates, limits.key_process, limits.rapid_reset)
    return measured | {"rows": [row for part in parts for row in limits.rows_of(part, core, load_core, args.rounds)]}


def run_bypass(args, scratch, core, load_core):
    docroot.make_sizes(scratch)
    stolen = machine.stolen_and_total()
    running, results = bypass.run(args, scratch, core, load_core)
    return described(args, *stolen) | {"servers": {server.name: server.version() for server in running}, "scenarios": results}


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
    for name, run, write in (("static", run_static, report.write), ("dynamic", run_dynamic, report_dynamic.write),
                             ("tls", run_tls, report_tls.write), ("dpdk", run_bypass, bypass.write), ("limits", run_limits, limits.write)):
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
