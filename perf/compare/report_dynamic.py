"""The report on applications in pools: dynamic.json, dynamic.md, plots, and the second table of the project's README."""
from statistics import median

import peers
import report
from report import README, spread

MARKS = ("<!-- applications: made by perf/compare/report.py -->", "<!-- /applications -->")
NOT_YET = "No run is recorded yet."
# app, ours, beside what
ROWS = [
    ("C, 112 bytes", "penstock-native", "nginx-fastcgi"),
    ("C, 112 bytes", "penstock-native", "penstock-file"),
    ("WSGI hello", "penstock-wsgi", "nginx-uwsgi"),
    ("WSGI hello", "penstock-wsgi", "nginx-gunicorn"),
    ("PHP hello", "penstock-php", "nginx-php-fpm"),
]
# scenario prefix, ours, peer, at least
GOALS = [
    ("C, 112 bytes, to nginx → FastCGI", "native", "penstock-native", "nginx-fastcgi", 4.0),
    ("C, 112 bytes, to the same bytes as a hit of a file", "native", "penstock-native", "penstock-file", 0.5),
    ("WSGI hello, to nginx → uWSGI", "wsgi", "penstock-wsgi", "nginx-uwsgi", 2.0),
    ("PHP hello, to nginx → php-fpm", "php", "penstock-php", "nginx-php-fpm", 1.0),
]
ROUND_TRIP_P50_NS_MAX, ROUND_TRIP_P99_NS_MAX = 6_000, 20_000
SANDBOX_COST_MAX = 0.03
HUNG_P99_MAX = 1.2
CALLS_MAX = 0.005  # a request: shown as 0.00


def words(name):
    return peers.KINDS[name].what


def turns_of(data, scenario):
    return data["scenarios"].get(scenario, {}).get("turns", {})


def ratio_table(data):
    """One row a pair of servers, one column a number of connections."""
    columns = sorted({s["connections"] for s in data["scenarios"].values() if s["app"]})
    lines = ["| application | beside | " + " | ".join(f"c = {c}" for c in columns) + " |", "|---|---|" + "--:|" * len(columns)]
    for app, ours, peer in ROWS:
        cells = []
        for c in columns:
            turns = next((s["turns"] for s in data["scenarios"].values() if s["app"] == app and s["connections"] == c), {})
            cells.append(spread(report.ratios(turns, ours, peer)))
        if any(cell != "–" for cell in cells) or peer in data["absent"] or ours in data["absent"]:
            missing = " (not here)" if peer in data["absent"] else ""
            lines.append(f"| {app} | {words(peer)}{missing} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def p99_ratios(turns):
    pairs = zip(turns.get("penstock-hung", []), turns.get("penstock-file", []))
    return [a["latency_us"]["p99"] / b["latency_us"]["p99"] for a, b in pairs if b["latency_us"]["p99"]]


def calls_per_request(turns, whose):
    counted = [t for t in turns if "calls" in t and t["requests"]]
    return sum(t["calls"][whose] for t in counted) / sum(t["requests"] for t in counted) if counted else None


def goal_rows(data):
    """(goal, wanted, measured, met or None where it was not measured)"""
    for what, scenario, ours, peer, least in GOALS:
        for name, s in data["scenarios"].items():
            if name.rpartition("-c")[0] == scenario:
                own = report.ratios(s["turns"], ours, peer)
                yield f"{what}, c = {s['connections']}", f"≥ {least:g}", spread(own), median(own) >= least if own else None
    trips = data["round_trip"] or []
    for percentile, most in (("p50", ROUND_TRIP_P50_NS_MAX), ("p99", ROUND_TRIP_P99_NS_MAX)):
        us = [run[f"{percentile}_ns"] / 1000 for run in trips]
        yield f"round trip of the ring, both ends awake, {percentile}", f"≤ {most / 1000:g} µs", spread(us) + (" µs" if us else ""), \
            median(us) <= most / 1000 if us else None
    asked = [run["calls"] for run in trips if "calls" in run]
    yield "system calls a round trip, both ends awake, a core each", "0", spread(asked, "{:.4f}"), median(asked) <= CALLS_MAX if asked else None
    calls = turns_of(data, "calls")
    for words_, value in (("worker", calls_per_request(calls.get("penstock-apart", []), "others")), ("server beyond those for a file", extra_calls(calls))):
        yield f"system calls a request, worker on another core than the server, {words_}", "0", "–" if value is None else f"{value:.3f}", \
            None if value is None else value <= CALLS_MAX
    cost = [1 - ratio for ratio in report.ratios(turns_of(data, "sandbox"), "penstock-native", "penstock-open")]
    yield "cost of the sandbox", f"≤ {SANDBOX_COST_MAX:.0%}", spread(cost, "{:.1%}"), median(cost) <= SANDBOX_COST_MAX if cost else None
    hung = p99_ratios(turns_of(data, "hung"))
    yield "99th percentile of files beside a hung pool", f"≤ {HUNG_P99_MAX} ×", spread(hung), median(hung) <= HUNG_P99_MAX if hung else None


def extra_calls(turns):
    pool, file = (calls_per_request(turns.get(name, []), "server") for name in ("penstock-apart", "penstock-file"))
    return None if pool is None or file is None else max(0.0, pool - file)


def calls_table(data):
    lines = ["| server | server's, a request | workers' and others', a request |", "|---|--:|--:|"]
    for name, turns in turns_of(data, "calls").items():
        cells = [calls_per_request(turns, whose) for whose in ("server", "others")]
        if cells[0] is not None:
            lines.append(f"| {words(name)} | {cells[0]:.3f} | {cells[1]:.3f} |")
    return "\n".join(lines) if len(lines) > 2 else "Not counted: `perf` is not here, or may not count system calls."


def names_of(data):
    """The servers that play in the scenarios of `data`, in the order of peers.KINDS."""
    return [name for name in peers.KINDS if any(name in s["turns"] for s in data["scenarios"].values())]


def only(data, wanted):
    return data | {"scenarios": {name: s for name, s in data["scenarios"].items() if wanted(name, s)}}


def markdown(data):
    absent = "".join(f"- left out: {words(name)}: {reason}\n" for name, reason in data["absent"].items())
    return f"""# Comparison: applications

Made by `scripts/bench --only dynamic`; [how it is measured](../README.md). Requests per second of CPU time of all processes on
the way, front end and applications, in turns on one machine. Ratios are penstock's to its neighbour's: medians over rounds, with the
smallest and the largest.

{ratio_table(data)}

![Ratios to the peer](dynamic-ratios.svg)

## Goals

{report.verdict_table(goal_rows(data))}

## Rates and latency

Under full load from one core, so it is the time in the queue more than the server's own.

![Latency](dynamic-latency.svg)

{report.full_table(data, names_of(data))}

## System calls

Of all kinds, those for sockets too; 256 connections; counted in the kernel by `perf stat -e raw_syscalls:sys_enter`.

{calls_table(data)}

## What a request cost penstock's server

{report.counter_table(data)}

## Machine

{report.machine_lines(data)}
{absent}"""


def write(data, folder):
    page = report.save(data, folder, "dynamic.json", "dynamic.md", markdown(data))
    import plots  # matplotlib is slow to load, and only a report needs it
    compared = only(data, lambda name, s: s["app"] and set(s["servers"][:2]) <= set(s["turns"]))
    if compared["scenarios"]:
        plots.ratios(compared, folder / "dynamic-ratios.svg", names_of(compared))
    timed = only(data, lambda name, s: s["app"] or name == "hung")
    if timed["scenarios"]:
        plots.latency(timed, folder / "dynamic-latency.svg", names_of(timed))
    return page


def readme():
    """The project's README with both tables as the recorded data says."""
    text = README.read_text()
    if data := report.load("report.json"):
        text = report.with_table(text, report.MARKS, report.ratio_table(data))
    dynamic = report.load("dynamic.json")
    return report.with_table(text, MARKS, ratio_table(dynamic) if dynamic else NOT_YET)


def refresh_readme():
    README.write_text(readme())
