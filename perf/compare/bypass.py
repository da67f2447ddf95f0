"""The 1 KiB hot hit past the kernel, beside the same hit through it: dpdk.json, dpdk.md.

Through the kernel: nginx and penstock over loopback, asked by wrk. Past it: penstock on a memif port of DPDK's, asked by our own
engine's clients (perf/load/net_load) on the other core, and the reflector in its place, the bare limit. A poller's core is busy
whether it has work or not, so beside requests per second of CPU time stands the share of turns that found work.
"""
import json
import subprocess
import sys
import time
from statistics import median

import loads
import procfs
import report
import servers
import turns
from report import spread, thousands
from scenarios import Scenario

OURS, LOAD = "10.78.0.1", "10.78.0.2"
NET_LOAD = servers.TREE / "build/perf/load/net_load"
KERNEL = ("nginx", "penstock-epoll", "penstock")
BYPASS = ("penstock-memif", "reflector-memif")
SCENARIOS = [
    Scenario("1k-c1", "1 KiB, 1 connection", "/1k.bin", connections=1, servers=KERNEL + BYPASS),
    Scenario("1k", "1 KiB, 64 connections", "/1k.bin", servers=KERNEL + BYPASS),
    Scenario("1k-c200", "1 KiB, 200 connections", "/1k.bin", connections=200, servers=KERNEL + BYPASS),
    Scenario("1k-c10000", "1 KiB, 10,000 connections", "/1k.bin", connections=10_000, servers=BYPASS[:1]),
    Scenario("pipeline", "1 KiB, 16-deep pipeline, 64 connections", "/1k.bin", lua=("--pipeline=16",), servers=BYPASS[:1]),
    Scenario("close", "1 KiB, one request per connection, 64 at a time", "/1k.bin", lua=("--close",), servers=BYPASS[:1]),
    Scenario("close-c1000", "1 KiB, one request per connection, 1,000 at a time", "/1k.bin", connections=1_000, lua=("--close",), servers=BYPASS[:1]),
]
WHAT = {"nginx": "nginx, loopback", "penstock": "penstock, io_uring, loopback", "penstock-epoll": "penstock, epoll, loopback",
        "penstock-memif": "penstock, dpdk, memif", "reflector-memif": "reflector, memif"}


class Memif:
    """What both servers on a memif port have in common."""

    def __init__(self, scratch, core):
        self.socket = scratch / f"{self.name}.memif"
        super().__init__(scratch, core)

    def port_of(self, role):
        return f"net_memif{0 if role == 'server' else 1},role={role},id=0,socket={self.socket},socket-abstract=no"

    def ready(self):
        raise NotImplementedError

    def start(self):
        self.process = self.spawn(self.command())
        deadline = time.monotonic() + servers.START_TIMEOUT_S
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise servers.StartFailed(f"{self.name} does not start: " + (self.scratch / f"{self.name}.log").read_text()[-2000:])
            time.sleep(0.05)
        self.pids = self.family()

    def stop(self):
        if self.process is not None:
            servers.end_family(self.process, self.pids)
            self.process = None
        self.socket.unlink(missing_ok=True)

    def ask(self, scenario, seconds, core):
        return ["taskset", "-c", core, NET_LOAD, f"--device={self.port_of('client')}", f"--own={LOAD}", f"--to={OURS}", "--path=/1k.bin",
                   f"--body={self.scratch}/www/1k.bin", f"--connections={scenario.connections}", f"--seconds={seconds}", "--warmup=1", *scenario.lua]


class PenstockMemif(Memif, servers.Penstock):
    name = "penstock-memif"

    def command(self):
        path = self.scratch / f"{self.name}.conf"
        path.write_text(f"server.listen = {OURS}:80\nserver.reactors = 1\nserver.cpus = {self.core}\nserver.transport = dpdk\n"
                        f"dpdk.device = {self.port_of('server')}\ndpdk.addresses = {OURS}/24\ndpdk.hugepages = 0\nlog.access.format = none\n"
                        f"cache.size = 1g\nsite.bench.hosts = *\nsite.bench.root = {self.scratch}/www\n")
        return [self.binary(), "run", "-c", path, "--control", self.control]

    def ready(self):
        return self.control.exists() and bool(self.counters())


class ReflectorMemif(Memif, servers.Server):
    name = "reflector-memif"

    def binary(self):
        return NET_LOAD if NET_LOAD.exists() else None

    def command(self):
        return [NET_LOAD, "--reflect", f"--device={self.port_of('server')}", f"--own={OURS}", f"--body={self.scratch}/www/1k.bin"]

    def ready(self):
        return self.socket.exists()


KINDS = {"penstock-memif": PenstockMemif, "reflector-memif": ReflectorMemif} | {name: servers.KINDS[name] for name in KERNEL}


def measure(server, scenario, seconds, core):
    """One turn past the kernel. The load's warm-up is not counted, so the server's time is taken when it is over."""
    process = subprocess.Popen([*map(str, server.ask(scenario, seconds, core))], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()  # "counting": from here on it counts
        if line.strip() != "counting":
            raise RuntimeError(f"net_load: {process.communicate(timeout=30)[1].strip()}")
        pids = server.family()
        before, counted, start = procfs.cpu_seconds(pids), server.counters(), time.monotonic()
        time.sleep(seconds * 0.9)
        elapsed = time.monotonic() - start
        cpu, after = procfs.cpu_seconds(pids) - before, server.counters()
        out, err = process.communicate(timeout=seconds + 60)
        if process.returncode not in (0, 1):
            raise RuntimeError(f"net_load: {err.strip()}")
    finally:
        if process.poll() is None:
            process.kill()
    load = json.loads(out)
    per_s = load["requests"] / (load["duration_us"] / 1e6)
    polls = after.get("turns", 0) - counted.get("turns", 0)
    busy = cpu / elapsed
    return {"requests": load["requests"], "busy": round(busy, 3), "per_s": round(per_s, 1), "per_cpu_s": round(per_s / max(busy, 0.01), 1),
            "latency_us": {"p50": load["latency_us"]["p50"], "p99": load["latency_us"]["p99"], "p999": load["latency_us"]["p99.9"]},
            "errors": {kind: count for kind, count in load["errors"].items() if count}, "load_busy": load["busy"],
            "found_work": round((after["turns_busy"] - counted["turns_busy"]) / polls, 4) if polls else None,
            "retransmitted": load["retransmitted"], "counters": {}}


def run(args, scratch, core, load_core):
    """A server runs only while it is measured, for a poller takes its core."""
    playing = [kind(scratch, core) for name, kind in KINDS.items() if not args.server or name in args.server]
    absent = [server for server in playing if server.binary() is None]
    for server in absent:
        print(f"bench: {server.name} is not here; left out", file=sys.stderr)
    playing = [server for server in playing if server not in absent]
    progress = turns.Progress(sum(args.rounds * len([s for s in playing if s.name in scenario.servers]) for scenario in args.dpdk))
    results = {}
    for scenario in args.dpdk:
        taken = {server.name: [] for server in playing if server.name in scenario.servers}
        for number in range(args.rounds):
            for server in [s for s in playing if s.name in taken]:
                progress.step(f"{scenario.what}: {server.name}, round {number + 1} of {args.rounds}")
                try:
                    server.start()
                    if isinstance(server, Memif):
                        taken[server.name].append(measure(server, scenario, args.seconds, load_core))
                    else:
                        turns.check_answers(server, scenario, scratch, ())
                        loads.load(server, scenario, scratch, (), 1, load_core)
                        taken[server.name].append(turns.measure(server, scenario, scratch, (), args.seconds, load_core))
                finally:
                    server.stop()
        results[scenario.name] = {"what": scenario.what, "turns": taken}
        progress.line(f"{scenario.what:<56} " + ", ".join(f"{name} {thousands(median(report.values(of)))}" for name, of in taken.items()) + " req/CPU-s")
    return playing, results


# scenario, ours, other, at least, words
GOALS = [
    ("1k", "penstock-memif", "nginx", 14, "1 KiB, 64 connections, to nginx"),
    ("1k-c200", "penstock-memif", "nginx", 14, "1 KiB, 200 connections, to nginx"),
    ("1k", "penstock-memif", "reflector-memif", 0.55, "1 KiB, 64 connections, to the reflector"),
]


def goal_rows(data):
    taken = {name: scenario["turns"] for name, scenario in data["scenarios"].items()}
    for scenario, ours, other, least, words in GOALS:
        own = report.ratios(taken.get(scenario, {}), ours, other)
        yield words, f"≥ {least:g}", spread(own), median(own) >= least if own else None
    ours = {name: of["penstock-memif"] for name, of in taken.items() if "penstock-memif" in of}
    closing = max((name for name in ("close", "close-c1000") if name in ours), key=lambda name: median(report.values(ours[name], "per_s")), default=None)
    rates = report.values(ours[closing], "per_s") if closing else []
    yield "new connections a second", "≥ 300 k", spread([rate / 1000 for rate in rates], "{:.0f} k"), median(rates) >= 300_000 if rates else None
    trips = [turn["latency_us"]["p50"] for turn in ours.get("1k-c1", [])]
    yield "one request and its answer, 1 connection, p50", "≤ 5 µs", spread(trips, "{:.1f} µs"), median(trips) <= 5 if trips else None
    many = [a / b for a, b in zip(report.values(ours.get("1k-c10000", []), "per_s"), report.values(ours.get("1k", []), "per_s"))]
    yield "10,000 connections to 64", "≥ 0.8", spread(many), median(many) >= 0.8 if many else None


def markdown(data):
    verdict = {True: "met", False: "missed", None: "not measured"}
    goals = "\n".join(f"| {goal} | {wanted} | {measured} | {verdict[met]} |" for goal, wanted, measured, met in goal_rows(data))
    lines = []
    for name, scenario in data["scenarios"].items():
        for server, of in scenario["turns"].items():
            rates = report.values(of)
            share = [turn["found_work"] for turn in of if turn.get("found_work") is not None]
            to_nginx = spread(report.ratios(scenario["turns"], server, "nginx")) if server != "nginx" else "1"
            lines.append(f"| {scenario['what']} | {WHAT[server]} | {thousands(median(rates))} ({thousands(min(rates))}–{thousands(max(rates))}) | {to_nginx} | "
                         f"{thousands(median(report.values(of, 'per_s')))} | {median(report.values(of, 'busy')):.0%} | "
                         f"{f'{median(share):.0%}' if share else '–'} | {report.latency(of, 'p50')} | {report.latency(of, 'p99')} | "
                         f"{sum(sum(turn['errors'].values()) for turn in of)} |")
    table = "\n".join(lines)
    return f"""# Past the kernel

Made by `scripts/bench --only dpdk`; [how it is measured](../README.md#method-past-the-kernel). Requests per second of the server's CPU time, in
turns on one machine: the median of the rounds, with the smallest and the largest.

| scenario | server | req/CPU-s, median (min–max) | to nginx | req/s | core busy | turns that found work | p50 | p99 | errors |
|---|---|--:|--:|--:|--:|--:|--:|--:|--:|
{table}

## Goals

| goal | wanted | measured | |
|---|--:|--:|---|
{goals}

## Machine

{report.machine_lines(data)}
"""


def write(data, folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dpdk.json").write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    (folder / "dpdk.md").write_text(markdown(data))
    return folder / "dpdk.md"
