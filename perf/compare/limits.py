"""What has a bound of its own and no peer beside it: each measured by the program that is made for it. limits.json, limits.md."""
import json
import os
import re
import subprocess
import sys
from statistics import median

import report
import report_dynamic
from servers import TREE

HIT_NS_MAX = 300
BYTEWISE_MAX = 4
HOST_NS_MAX = 300
HOST_BYTES_MAX = 200
JOURNAL_NS_MAX = 150
JOURNAL_SHARE_MAX = 0.02
LOG_LINE_NS_MAX = 200
SANDBOX_SPAWN_MS_MAX = 5
CGI_FIRST_BYTE_MS_MAX = 1.5
KEY_PROCESS_PERCENT_MAX = 15
MICRO = TREE / "build/perf/micro"
LOAD = TREE / "perf/load"
# Of the scenarios of applications those whose goal is a bound: their rows are report_dynamic's.
SCENARIOS = ("sandbox", "hung")


class Absent(Exception):
    """The program is not built, or something that it needs is not here."""


def run(command, core, timeout_s=300, codes=(0,)):
    done = subprocess.run(["taskset", "-c", str(core), *map(str, command)], capture_output=True, text=True, timeout=timeout_s)
    if done.returncode not in codes:
        raise Absent((done.stderr or done.stdout).strip().rpartition("\n")[2] or f"{command[0]} ended with {done.returncode}")
    return done.stdout


def benchmark(name, pattern, core, repetitions):
    """The single runs of a program of perf/micro."""
    if not (MICRO / name).exists():
        raise Absent(f"{name} is not built")
    out = run([MICRO / name, f"--benchmark_filter={pattern}", "--benchmark_format=json", f"--benchmark_repetitions={repetitions}",
               "--benchmark_min_time=0.2"], core)
    return [one for one in json.loads(out)["benchmarks"] if one["run_type"] == "iteration"]


def hot_hit(core, load_core, rounds):
    """CPU time: a neighbour who takes the processor is none of it."""
    for body in (64, 1024):
        runs = benchmark("hit_bench", f"decode_lookup_compose/{body}$", core, rounds)
        yield {"what": f"decode, lookup and compose of a hot hit, {body} bytes", "unit": "ns", "values": [one["cpu_time"] for one in runs], "most": HIT_NS_MAX}


def bytewise(core, load_core, rounds):
    """Without SIMD, which whole heads alone can use."""
    spans = {form: [one["cpu_time"] for one in benchmark("http_bench", f"parse_{form}/long_16k_plain$", core, rounds)] for form in ("bytewise", "whole")}
    yield {"what": "a head of 16 KiB that comes byte by byte, to one that comes whole, without SIMD", "unit": "×",
           "values": [slow / fast for slow, fast in zip(spans["bytewise"], spans["whole"])], "most": BYTEWISE_MAX}


def hosts(core, load_core, rounds):
    runs = benchmark("host_bench", "find_site$", core, rounds)
    yield {"what": "the site of one of 100,000 host names, p99", "unit": "ns", "values": [one["p99_ns"] for one in runs], "most": HOST_NS_MAX}
    yield {"what": "memory of a host name beyond its own length, beside 100,000", "unit": "bytes", "values": [one["bytes_each"] for one in runs], "most": HOST_BYTES_MAX}


def journal_ns(core, rounds):
    return [one["ns_per_request"] for one in benchmark("journal_bench", "journal_begin_head_end/4194304$", core, rounds)]


def journal(core, load_core, rounds):
    yield {"what": "the journal's part of a request", "unit": "ns", "values": journal_ns(core, rounds), "most": JOURNAL_NS_MAX}


def log_cost(core, load_core, rounds):
    found = found_by("log_cost.py", "--rounds", 2 * rounds)
    ns = median(journal_ns(core, rounds))
    yield {"what": "the journal's part of the server's time for 1 KiB, 64 connections", "unit": "",
           "values": [ns / 1000 / us for us in found["request_us"]], "most": JOURNAL_SHARE_MAX}
    yield {"what": "time of all processes for a request whose log is followed by a condition, to that without", "unit": "×",
           "values": found["follower"], "most": found["follower_most"]}
    yield {"what": "99th percentile beside a logd that stands still for 100 ms again and again, to that without", "unit": "×",
           "values": found["stall"], "most": found["stall_most"]}


def log_lines(core, load_core, rounds):
    for form in ("w3c", "ncsa", "json"):
        runs = benchmark("log_bench", f"binary_to_lines/{form}$", core, rounds)
        yield {"what": f"a record of the binary log of 2,000 sites to a line of {form}", "unit": "ns",
               "values": [1e9 / one["records_per_second"] for one in runs], "most": LOG_LINE_NS_MAX}


def round_trip(core, load_core, rounds):
    runs = benchmark("ring_bench", "BM_round_trip", f"{core},{load_core}", rounds)
    for percentile, most in (("p50", report_dynamic.ROUND_TRIP_P50_NS_MAX), ("p99", report_dynamic.ROUND_TRIP_P99_NS_MAX)):
        yield {"what": f"round trip of the ring, both ends awake, {percentile}", "unit": "ns", "values": [one[f"{percentile}_ns"] for one in runs], "most": most}


def found_by(name, *options):
    """What a program of perf/load says in JSON that it found, and what is wanted; its exit code 1 is a goal that is missed."""
    out = run([sys.executable, LOAD / name, "--json", *map(str, options)], ",".join(map(str, sorted(os.sched_getaffinity(0)))), 600, (0, 1))
    return json.loads(out.strip().rpartition("\n")[2])


def load_program(name, what, unit, key, *options):
    found = found_by(name, *options)
    return {"what": what, "unit": unit, "values": found[key], "most": found["most"]}


def idle_memory(core, load_core, rounds):
    yield load_program("idle_memory.py", "memory of an idle connection, beside 15,000 of them", "bytes", "bytes_each")


def idle_tls_memory(core, load_core, rounds):
    for over, what in (("tls", "an idle TLS connection"), ("h2", "an idle connection of HTTP/2 over TLS")):
        yield load_program("idle_memory.py", f"memory of {what}, beside 3,000 of them", "bytes", "bytes_each", "--over", over)


def rapid_reset(core, load_core, rounds):
    found = found_by("rapid_reset.py", "--rounds", rounds)
    yield {"what": "99th percentile beside 50,000 resets of HTTP/2 a second, to that without", "unit": "×", "values": found["ratios"], "most": found["most"]}
    yield {"what": "a connection at 50,000 resets a second is closed, from its first on", "unit": "s", "values": found["seconds"], "most": found["most_seconds"]}


def certificates(core, load_core, rounds):
    found = found_by("many_certificates.py")
    yield {"what": "memory of a certificate before its first use, beside 10,000 of them", "unit": "bytes", "values": found["bytes_each"], "most": found["most"]}
    yield {"what": "from a start with 10,000 certificates to the first answer over TLS", "unit": "s", "values": found["start_s"], "most": found["most_start_s"]}


def key_process(core, load_core, rounds):
    """key_bench says for so many handshakes at once: "N  microseconds of CPU with the key in the server  … in keyd  …"."""
    if not (MICRO / "key_bench").exists():
        raise Absent("key_bench is not built")
    cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    lost = {}
    for _ in range(rounds):
        for at_once, here, there in re.findall(r"^ *(\d+) +([\d.]+) +([\d.]+) ", run([MICRO / "key_bench", TREE / "build/penstock", "p256", 1], cores), re.M):
            lost.setdefault(at_once, []).append(100 * (1 - float(here) / float(there)))
    if not lost:
        raise Absent("key_bench said nothing")
    for at_once, values in lost.items():
        yield {"what": f"full handshakes per CPU-second that the key process costs, {at_once} at once", "unit": "%", "values": values, "most": KEY_PROCESS_PERCENT_MAX}


def slowloris(core, load_core, rounds):
    yield load_program("slowloris.py", "99th percentile under 5,000 slow attackers, to that without", "×", "ratios", "--rounds", rounds, "--seconds", 5)


def bounded_answers(core, load_core, rounds):
    found = found_by("bounded_answers.py", "--rounds", rounds)
    hit = "of the processor, to a cached 200 of 1 KiB"
    for key, what, unit in (("redirect", f"a redirect by a route, time {hit}", "×"), ("https_redirect", f"a redirect to https, time {hit}", "×"),
                            ("hsts", f"a cached 200 with Strict-Transport-Security over TLS, time {hit} without", "×"),
                            ("refusal_us", "the whole 503 to a connection over limits.connections, p50", "µs"),
                            ("listing_ms", "the listing of a folder of 10,000 files that has just changed, p50", "ms")):
        yield {"what": what, "unit": unit, "values": found["found"][key], "most": found["most"][key]}


def spawns(core, load_core, rounds):
    """What is said of each: "NAME  p50 N ms  p99 N ms  (+N ms)", and "added at p50: N ms"."""
    cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    spawn = TREE / "build/perf/load/worker_spawn"
    if not spawn.exists():
        raise Absent("worker_spawn is not built")
    said = [run([spawn, TREE / "build/penstock", "/bin/echo", "up"], cores) for _ in range(rounds)]
    for tier in ("unshared", "ns"):
        added = [float(one) for text in said for one in re.findall(rf"^full, {tier} .*\(\+(-?[\d.]+) ms\)", text, re.M)]
        yield {"what": f"what the sandbox adds to the start of a worker that may start programs, tier {tier}", "unit": "ms", "values": added,
               "most": SANDBOX_SPAWN_MS_MAX}
    added = [float(one) for _ in range(rounds) for one in re.findall(r"^added at p50: (-?[\d.]+) ms", run([MICRO / "cgi_spawn_bench"], cores), re.M)]
    yield {"what": "a CGI program's first byte beyond its bare start, p50", "unit": "ms", "values": added, "most": CGI_FIRST_BYTE_MS_MAX}


def traces(core, load_core, rounds):
    """The wanted miss ratio of each is S3-FIFO's: as libCacheSim measured it, or the plain one beside ours."""
    trace, bytes_too = "", False
    for line in run([TREE / "perf/trace/run"], core).splitlines():
        cells = [part.split() for part in line.split("|")]
        if len(cells) < 3:
            trace = line.partition(":")[0] if line else trace
            bytes_too = "in bytes" in line
        elif cells[0] and re.fullmatch(r"\d+", cells[0][0]):
            column = cells[2] if bytes_too else cells[1]
            goal = cells[-2]
            # A thousandth is what the order of equals decides.
            most = float(goal[0]) if goal else float(column[1])
            yield {"what": f"miss ratio of {trace}, capacity {int(cells[0][0]):,}{' bytes' if bytes_too else ''}", "unit": "",
                   "values": [float(column[2])], "most": round(most + 0.001, 4)}


PARTS = {"hot hit": hot_hit, "byte by byte": bytewise, "hosts": hosts, "journal": journal, "log lines": log_lines, "log cost": log_cost, "round trip": round_trip, "idle memory": idle_memory, "slowloris": slowloris, "bounded answers": bounded_answers,
         "spawns": spawns, "traces": traces}


def rows_of(part, core, load_core, rounds, name=""):
    """What a part found; what cannot be measured here is a row that says why."""
    rows = []
    try:
        for row in part(core, load_core, rounds):
            rows.append(row)
    except (Absent, subprocess.TimeoutExpired) as error:
        rows.append({"what": name or part.__name__.replace("_", " "), "absent": str(error)})
    return rows


def measure(core, load_core, rounds, say):
    rows = []
    for name, part in PARTS.items():
        say(f"limits: {name} …")
        rows += rows_of(part, core, load_core, rounds, name)
    return rows


def shown(value, unit):
    if unit == "ns":
        return f"{value / 1000:.2f} µs" if value >= 1000 else f"{value:.0f} ns"
    if unit == "bytes":
        return f"{value:,.0f} bytes"
    return f"{value:.4f}" if unit == "" else f"{value:.2f} {unit}"


def bound_rows(rows):
    """(goal, wanted, measured, whether met; None: not measured)"""
    for row in rows:
        if "absent" in row:
            yield row["what"], "–", row["absent"], None
            continue
        values, unit = row["values"], row["unit"]
        spread = f" ({shown(min(values), unit)}–{shown(max(values), unit)})" if len(values) > 1 else ""
        yield row["what"], f"≤ {shown(row['most'], unit)}", shown(median(values), unit) + spread, median(values) <= row["most"]


def goal_rows(data):
    yield from bound_rows(data["rows"])
    wanted = ("cost of the sandbox", "99th percentile of files beside a hung pool")
    for goal, most, measured, met in report_dynamic.goal_rows({"scenarios": data["scenarios"], "round_trip": None, "absent": {}}):
        if goal in wanted:
            yield goal, most, measured, met


def markdown(data):
    return f"""# Limits

Made by `scripts/bench --only limits`; [how it is measured](../README.md). What has a bound of its own: the median of the rounds, with the
smallest and the largest. Times of one function are CPU time. A trace's bound is the miss ratio of S3-FIFO and a thousandth.

{report.verdict_table(goal_rows(data))}

## Machine

{report.machine_lines(data)}
"""


def write(data, folder):
    return report.save(data, folder, "limits.json", "limits.md", markdown(data))
