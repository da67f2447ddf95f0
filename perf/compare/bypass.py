"""The 1 KiB hot hit past the kernel, beside the same hit through it: dpdk.json, dpdk.md.

Through the kernel: nginx and penstock over loopback, asked by wrk. Past it: penstock on a memif or vhost-user port of DPDK's, asked by our
own engine's clients (perf/load/net_load) on the other core, and the reflector in its place, the bare limit; and on net_tap, where Linux's TCP
with wrk is at the other end, and each frame is a system call. A poller's core is busy
whether it has work or not, so beside requests per second of CPU time stands the share of turns that found work.
"""
import contextlib
import json
import subprocess
import sys
import time
from statistics import median

import distance
import loads
import procfs
import report
import servers
import stages
import turns
from report import spread, thousands
from scenarios import Scenario

OURS, LOAD = "10.78.0.1", "10.78.0.2"
TAP_OURS, TAP_LINUX = "10.78.1.1", "10.78.1.2"
NET_LOAD = servers.TREE / "build/perf/load/net_load"
KERNEL = ("nginx", "penstock-epoll", "penstock")
BYPASS = ("penstock-memif", "reflector-memif")
MOVED_TRIES = 3      # for a turn during which the two cores came nearer or went apart
OTHERS = ("penstock-vhost", "penstock-tap")  # other drivers
CROWD = 1_000        # connections at a time while the server has a third of a core
NEIGHBOURS = 2       # who have the other two thirds
OVERLOAD = 2         # times what it can
GIVE_UP_MS = 50      # who has no connection by then goes
SCENARIOS = [
    Scenario("1k-c1", "1 KiB, 1 connection", "/1k.bin", connections=1, servers=KERNEL + BYPASS),
    Scenario("1k", "1 KiB, 64 connections", "/1k.bin", servers=KERNEL + BYPASS + OTHERS),
    Scenario("1k-c200", "1 KiB, 200 connections", "/1k.bin", connections=200, servers=KERNEL + BYPASS),
    Scenario("1k-c10000", "1 KiB, 10,000 connections", "/1k.bin", connections=10_000, least_s=5, servers=KERNEL + BYPASS),
    Scenario("pipeline", "1 KiB, 16-deep pipeline, 64 connections", "/1k.bin", lua=("--pipeline=16",), servers=BYPASS[:1]),
    Scenario("close", "1 KiB, one request per connection, 64 at a time", "/1k.bin", lua=("--close",), servers=BYPASS[:1]),
    Scenario("close-c1000", "1 KiB, one request per connection, 1,000 at a time", "/1k.bin", connections=1_000, lua=("--close",), servers=BYPASS[:1]),
    Scenario("close-half", "one request per connection, as many as a third of a core can", "/1k.bin", connections=CROWD, lua=("--close",), crowded=True,
             servers=BYPASS[:1]),
    Scenario("close-over", f"one request per connection, {OVERLOAD} times that is offered", "/1k.bin", connections=8 * CROWD, lua=("--close",),
             crowded=True, servers=BYPASS[:1]),
]
WHAT = {"nginx": "nginx, loopback", "penstock": "penstock, io_uring, loopback", "penstock-epoll": "penstock, epoll, loopback",
        "penstock-memif": "penstock, dpdk, memif", "reflector-memif": "reflector, memif", "penstock-vhost": "penstock, dpdk, vhost-user",
        "penstock-tap": "penstock, dpdk, tap"}


def warm_up_s(scenario):
    """Many connections take their time to come up."""
    return 1 + scenario.connections // 5_000


class Memif:
    """What the servers on a port to another process have in common."""

    def __init__(self, scratch, core):
        self.socket = scratch / f"{self.name}.memif"
        super().__init__(scratch, core)

    def port_of(self, role):
        return f"net_memif{0 if role == 'server' else 1},role={role},id=0,socket={self.socket},socket-abstract=no"

    def ready(self):
        raise NotImplementedError

    def said(self):
        log = self.scratch / f"{self.name}.log"
        return log.read_text() if log.exists() else ""

    def start(self):
        (self.scratch / f"{self.name}.log").unlink(missing_ok=True)
        self.process = self.spawn(self.command())
        deadline = time.monotonic() + servers.START_TIMEOUT_S
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise servers.StartFailed(f"{self.name} does not start: " + self.said()[-2000:])
            time.sleep(0.05)
        self.pids = self.family()

    def stop(self):
        if self.process is not None:
            servers.end_family(self.process, self.pids)
            self.process = None
        self.socket.unlink(missing_ok=True)

    def ask(self, scenario, seconds, core, rate):
        return ["taskset", "-c", core, NET_LOAD, f"--device={self.port_of('client')}", f"--own={LOAD}", f"--to={OURS}", "--path=/1k.bin",
                   f"--body={self.scratch}/www/1k.bin", f"--connections={scenario.connections}", f"--seconds={seconds}", f"--warmup={warm_up_s(scenario)}",
                   *scenario.lua,
                   *([f"--rate={rate}", f"--give-up={GIVE_UP_MS}"] if rate else [])]


def past_kernel(server, address, device):
    """Starts penstock on a port of DPDK's."""
    path = server.scratch / f"{server.name}.conf"
    path.write_text(f"server.listen = {address}:80\nserver.reactors = 1\nserver.cpus = {server.core}\nserver.transport = dpdk\n"
                    f"dpdk.device = {device}\ndpdk.addresses = {address}/24\ndpdk.hugepages = 0\nlog.access.format = none\n"
                    f"cache.size = 1g\nsite.bench.hosts = *\nsite.bench.root = {server.scratch}/www\n")
    return [server.binary(), "run", "-c", path, "--control", server.control]


class PenstockMemif(Memif, servers.Penstock):
    name = "penstock-memif"

    def command(self):
        return past_kernel(self, OURS, self.port_of("server"))

    def ready(self):
        return self.control.exists() and bool(self.counters())


class PenstockVhost(PenstockMemif):
    """The port of a virtual machine's network card, whose place net_load takes."""
    name = "penstock-vhost"

    def ready(self):
        """The card's other end must be there before the card."""
        return self.socket.exists() and super().ready()

    def port_of(self, role):
        return f"net_vhost0,iface={self.socket}" if role == "server" else f"net_virtio_user0,path={self.socket},queues=1,queue_size=1024"


class PenstockTap(servers.Penstock):
    """Linux's TCP at the other end, as for the servers through the kernel."""
    name = "penstock-tap"
    host, device = TAP_OURS, "benchtap"

    def __init__(self, scratch, core):
        super().__init__(scratch, core)
        self.port = 80

    def command(self):
        return past_kernel(self, TAP_OURS, f"net_tap0,iface={self.device}")

    def answers(self):
        """Linux's end comes with the server and goes with it."""
        for words in (["addr", "replace", f"{TAP_LINUX}/24"], ["link", "set", "up"]):
            if subprocess.run(["ip", *words, "dev", self.device], capture_output=True).returncode != 0:
                return False
        return super().answers()


class ReflectorMemif(Memif, servers.Server):
    name = "reflector-memif"

    def binary(self):
        return NET_LOAD if NET_LOAD.exists() else None

    def command(self):
        return [NET_LOAD, "--reflect", f"--device={self.port_of('server')}", f"--own={OURS}", f"--body={self.scratch}/www/1k.bin"]

    def ready(self):
        return "reflecting" in self.said()


PROFILED = ("1k", "1k-c200")  # one more turn of each, that does not count
KINDS = {"penstock-memif": PenstockMemif, "reflector-memif": ReflectorMemif, "penstock-vhost": PenstockVhost, "penstock-tap": PenstockTap} | {name: servers.KINDS[name] for name in KERNEL}


def measure(server, scenario, seconds, core, rate=0, profiled=False):
    """One turn past the kernel. The load's warm-up is not counted, so the server's time is taken when it is over."""
    with turns.neighbour(server.core, NEIGHBOURS) if scenario.crowded else contextlib.nullcontext():
        return measure_alone(server, scenario, seconds, core, rate, profiled)


def measure_alone(server, scenario, seconds, core, rate, profiled):
    process = subprocess.Popen([*map(str, server.ask(scenario, seconds, core, rate))], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    profile = None
    try:
        line = process.stdout.readline()  # "counting": from here on it counts
        if line.strip() != "counting":
            raise RuntimeError(f"net_load: {process.communicate(timeout=30)[1].strip()}")
        pids = server.family()
        profile = stages.Profile(server.scratch, pids, seconds * 0.9) if profiled else None
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
        if profile is not None:
            profile.stop()
    load = json.loads(out)
    per_s = load["requests"] / (load["duration_us"] / 1e6)
    polls = after.get("turns", 0) - counted.get("turns", 0)
    busy = cpu / elapsed
    return {"stages_ns": profile.shares(busy / per_s * 1e9) if profiled else None} | {
            "requests": load["requests"], "busy": round(busy, 3), "per_s": round(per_s, 1), "per_cpu_s": round(per_s / max(busy, 0.01), 1),
            "latency_us": {"p50": load["latency_us"]["p50"], "p99": load["latency_us"]["p99"], "p999": load["latency_us"]["p99.9"]},
            "errors": {kind: count for kind, count in load["errors"].items() if count}, "load_busy": load["busy"],
            "found_work": round((after["turns_busy"] - counted["turns_busy"]) / polls, 4) if polls else None,
            "retransmitted": load["retransmitted"], "offered": rate or None, "given_up": load["given_up"], "late_max": load["late_max"], "counters": {}}


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
        rate = offered(scenario, results)
        for number in range(args.rounds):
            for server in [s for s in playing if s.name in taken]:
                progress.step(f"{scenario.what}: {server.name}, round {number + 1} of {args.rounds}")
                taken[server.name].append(one_turn(server, scenario, scratch, args.seconds, load_core, rate))
        results[scenario.name] = {"what": scenario.what, "turns": taken}
        ours = next((server for server in playing if server.name == BYPASS[0]), None)
        if scenario.name in PROFILED and ours is not None:
            looked_into = one_turn(ours, scenario, scratch, args.seconds, load_core, profiled=True)
            results[scenario.name] |= {"stages_ns": looked_into["stages_ns"], "stages_at": distance.of(looked_into)}
        progress.line(f"{scenario.what:<56} " + ", ".join(f"{name} {thousands(median(report.values(of)))}" for name, of in taken.items()) + " req/CPU-s")
    return playing, results


def offered(scenario, results):
    """Requests a second that fall due whatever the server does; 0: as fast as it answers."""
    if scenario.name != "close-over":
        return 0
    alone = results.get("close-half", {}).get("turns", {}).get(BYPASS[0])
    if not alone:
        raise RuntimeError("close-over needs close-half in the same run: it offers twice that")
    return int(OVERLOAD * median(report.values(alone, "per_s")))


def one_turn(server, scenario, scratch, seconds, core, rate=0, profiled=False):
    """A port that nobody answers on is told of, and tried once more."""
    try:
        return begin_turn(server, scenario, scratch, seconds, core, rate, profiled)
    except RuntimeError as error:
        print(f"\nbench: {server.name}: {error}; once more", file=sys.stderr)
        return begin_turn(server, scenario, scratch, seconds, core, rate, profiled)


def begin_turn(server, scenario, scratch, seconds, core, rate, profiled):
    if not isinstance(server, Memif):
        return started_turn(server, scenario, scratch, seconds, core, rate, profiled)
    for _ in range(MOVED_TRIES):
        before = distance.line_trip_ns(server.core, core)
        turn = started_turn(server, scenario, scratch, seconds, core, rate, profiled)
        turn["line_ns"] = [before, distance.line_trip_ns(server.core, core)]
        if distance.of(turn) is not None:
            break
    return turn


def started_turn(server, scenario, scratch, seconds, core, rate, profiled):
    try:
        server.start()
        if isinstance(server, Memif):
            return measure(server, scenario, seconds, core, rate, profiled)
        turns.check_answers(server, scenario, scratch, ())
        loads.load(server, scenario, scratch, (), 1, core)
        return turns.measure(server, scenario, scratch, (), seconds, core)
    finally:
        server.stop()


# scenario, ours, other, at least, words
GOALS = [
    ("1k", "penstock-memif", "nginx", 14, "1 KiB, 64 connections, to nginx"),
    ("1k-c200", "penstock-memif", "nginx", 14, "1 KiB, 200 connections, to nginx"),
    ("1k", "penstock-memif", "reflector-memif", 0.55, "1 KiB, 64 connections, to the reflector"),
]


def of_kind(turns_of, kind):
    return [turn for turn in turns_of if distance.of(turn) == kind]


def distance_table(data):
    if not any("line_ns" in turn for scenario in data["scenarios"].values() for turn in scenario["turns"].get(BYPASS[0], [])):
        return "Not measured in this run."
    lines = ["| scenario | server | near: rounds | req/CPU-s | p50 | apart: rounds | req/CPU-s | p50 |", "|---|---|--:|--:|--:|--:|--:|--:|"]
    for scenario in data["scenarios"].values():
        for server in BYPASS:
            cells = []
            for kind in (distance.NEAR, distance.FAR):
                share = of_kind(scenario["turns"].get(server, []), kind)
                cells += [str(len(share)), report.spread_of_rates(report.values(share)), report.latency(share, "p50")] if share else ["0", "–", "–"]
            if server in scenario["turns"]:
                lines.append(f"| {scenario['what']} | {WHAT[server]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def goal_rows(data):
    taken = {name: scenario["turns"] for name, scenario in data["scenarios"].items()}
    ours = {name: of["penstock-memif"] for name, of in taken.items() if "penstock-memif" in of}
    for scenario, mine, other, least, words in GOALS:
        turns_of = taken.get(scenario, {}).get(mine, [])
        for share, where in ((turns_of, ""), (of_kind(turns_of, distance.NEAR), ", near cores"), (of_kind(turns_of, distance.FAR), ", cores apart")):
            if where and len(share) in (0, len(turns_of)):
                continue
            own = distance.alike(share, taken.get(scenario, {}).get(other, []), "per_cpu_s")
            yield words + where, f"≥ {least:g}", spread(own), median(own) >= least if own else None
    closing = max((name for name in ("close", "close-c1000") if name in ours), key=lambda name: median(report.values(ours[name], "per_s")), default=None)
    rates = report.values(ours[closing], "per_s") if closing else []
    yield "new connections a second", "≥ 300 k", spread([rate / 1000 for rate in rates], "{:.0f} k"), median(rates) >= 300_000 if rates else None
    trips = [turn["latency_us"]["p50"] for turn in ours.get("1k-c1", [])]
    yield "one request and its answer, 1 connection, p50", "≤ 5 µs", spread(trips, "{:.1f} µs"), median(trips) <= 5 if trips else None
    many = distance.alike(ours.get("1k-c10000", []), ours.get("1k", []), "per_s")
    yield "10,000 connections to 64", "≥ 0.8", spread(many), median(many) >= 0.8 if many else None
    over = ours.get("close-over", [])
    if over and median(turn["per_s"] / turn["offered"] for turn in over) >= 0.95:
        served = thousands(median(report.values(over, "per_s")))
        yield f"goodput when {OVERLOAD} times as much is offered", "≥ 0.9", f"all {served} a second that were offered were served: no overload", None
        return
    held = distance.alike(over, ours.get("close-half", []), "per_s")
    yield f"goodput when {OVERLOAD} times as much is offered", "≥ 0.9", spread(held), median(held) >= 0.9 if held else None


def stage_table(data):
    """Cycles and ns of the server's time for one request, by stage."""
    shown = [scenario for scenario in data["scenarios"].values() if scenario.get("stages_ns")]
    if not shown:
        return "perf(1) is not here, so nobody has looked."
    ghz = data["machine"].get("mhz", 0) / 1000

    def row(words, numbers):
        return f"| {words} | " + " | ".join(f"{ns * ghz:.0f} ({ns:.0f} ns)" if ghz else f"{ns:.0f} ns" for ns in numbers) + " |"

    heads = [scenario["what"] + {None: "", distance.NEAR: ", near cores", distance.FAR: ", cores apart"}[scenario.get("stages_at")] for scenario in shown]
    lines = ["| stage | " + " | ".join(heads) + " |", "|---|" + "--:|" * len(shown)]
    lines += [row(stage, [scenario["stages_ns"][stage] for scenario in shown]) for stage in shown[0]["stages_ns"]]
    return "\n".join([*lines, row("all", [sum(scenario["stages_ns"].values()) for scenario in shown])])


def markdown(data):
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

![Requests per second of CPU time](dpdk.svg)

## Goals

{report.verdict_table(goal_rows(data))}

## How far the cores are from one another

Server and load share memory, so it matters whether their cores share a cache: whether a line of it goes to the other core and back in some 50 to
100 ns or in 200 to 600. A virtual machine's cores are moved from the one to the other while it runs; `load/line_trip` says before and after each
turn which it is, and a turn in between is taken again. Ratios are to turns of the same kind.

{distance_table(data)}

## Where the time of a request goes

Cycles and nanoseconds of the server's time for one request over memif, from samples (`perf record`) of one more turn; turns that found nothing are in
it. Where no counter of cycles can be had, as in most virtual machines, they are the time's, at the clock that /proc/cpuinfo tells.

{stage_table(data)}

## Machine

{report.machine_lines(data)}
"""


def write(data, folder):
    page = report.save(data, folder, "dpdk.json", "dpdk.md", markdown(data))
    import plots  # matplotlib is slow to load, and only a report needs it
    plots.rates(data, folder / "dpdk.svg", [name for name in KINDS if any(name in s["turns"] for s in data["scenarios"].values())])
    return page
