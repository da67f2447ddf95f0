#!/usr/bin/env python3
"""Turns the measurements of a run into report.json, README.md and plots; also the table of the project's README.

    perf/compare/report.py            makes perf/report anew from its report.json, dynamic.json, tls.json and limits.json, and the tables in README.md
    perf/compare/report.py --check    says whether README.md's tables and the pages of perf/report are those of the data
"""
import json
import re
import sys
from pathlib import Path
from statistics import median

TREE = Path(__file__).resolve().parents[2]
REPORT = TREE / "perf/report"
README = TREE / "README.md"
MARKS = ("<!-- comparison: made by perf/compare/report.py -->", "<!-- /comparison -->")
COUNTERS = ("requests", "syscalls", "wakeups", "bytes_copied", "allocations", "sends", "cache_hits", "turns")
ORDER = ("penstock", "penstock-epoll", "floor", "floor-epoll", "h2o", "nginx")
FLOORS = ("floor", "floor-epoll")
PEER = "nginx"

# name, scenario, numerator, denominator, at least
GOALS = [
    ("1 KiB at c=64, to the floor", "1k", "penstock", "floor", 0.9),
    ("1 KiB at c=64, to nginx", "1k", "penstock", "nginx", 1.6),
    ("16-deep pipeline, to nginx", "pipeline", "penstock", "nginx", 6.0),
    ("100 KiB, to nginx", "100k", "penstock", "nginx", 1.0),
    ("1 MiB, to nginx", "1m", "penstock", "nginx", 1.0),
    ("one request per connection, to the floor", "close", "penstock", "floor", 0.9),
]
SYSCALLS_PER_REQUEST_MAX = 1 / 8


def values(turns, key="per_cpu_s"):
    return [turn[key] for turn in turns]


def ratios(turns, server, peer):
    """Round by round, so that a slow minute of the machine hits both."""
    return [a / b for a, b in zip(values(turns[server]), values(turns[peer]))] if server in turns and peer in turns else []


def spread(numbers, form="{:.2f}"):
    if not numbers:
        return "–"
    return f"{form.format(median(numbers))} ({form.format(min(numbers))}–{form.format(max(numbers))})"


def thousands(number):
    return f"{number / 1000:.1f} k" if number >= 1000 else f"{number:.0f}"


def spread_of_rates(rates):
    return f"{thousands(median(rates))} ({thousands(min(rates))}–{thousands(max(rates))})"


def latency(turns, percentile):
    us = median(turn["latency_us"][percentile] for turn in turns)
    if us == 0:
        return "–"  # wrk keeps no percentiles of a pipeline
    return f"{us / 1000:.2f} ms" if us >= 1000 else f"{us:.0f} µs"


def summary_line(scenario, turns):
    parts = [f"{name} {thousands(median(values(list_)))}" for name, list_ in turns.items()]
    server, peer = scenario.servers[:2] if scenario.servers else ("penstock", PEER)
    own = ratios(turns, server, peer)
    return f"{scenario.what:<56} " + ", ".join(parts) + " req/CPU-s" + (f"; {server}/{peer} {median(own):.2f}" if own else "")


def server_names(data):
    return [name for name in ORDER if name in data["servers"]]


def ratio_table(data):
    names = [name for name in server_names(data) if name != PEER]
    lines = ["| scenario | nginx, req/CPU-s | " + " | ".join(f"{name} / nginx" for name in names) + " |",
             "|---|--:|" + "--:|" * len(names)]
    for scenario in data["scenarios"].values():
        turns = scenario["turns"]
        peer = thousands(median(values(turns[PEER]))) if PEER in turns else "–"
        lines.append(f"| {scenario['what']} | {peer} | " + " | ".join(spread(ratios(turns, name, PEER)) for name in names) + " |")
    return "\n".join(lines)


def full_table(data, names=None):
    lines = ["| scenario | server | req/CPU-s, median (min–max) | req/s | core busy | p50 | p99 | p99.9 | errors |", "|---|---|--:|--:|--:|--:|--:|--:|--:|"]
    for scenario in data["scenarios"].values():
        for name in names or server_names(data):
            turns = scenario["turns"].get(name)
            if turns:
                lines.append(f"| {scenario['what']} | {name} | {spread_of_rates(values(turns))} | "
                             f"{thousands(median(values(turns, 'per_s')))} | {median(values(turns, 'busy')):.0%} | {latency(turns, 'p50')} | "
                             f"{latency(turns, 'p99')} | {latency(turns, 'p999')} | {sum(sum(t['errors'].values()) for t in turns)} |")
    return "\n".join(lines)


def rate_table(data, names):
    """Where nobody told of latencies."""
    lines = ["| scenario | server | req/CPU-s, median (min–max) | req/s | core busy | errors |", "|---|---|--:|--:|--:|--:|"]
    for scenario in data["scenarios"].values():
        for name in names:
            if turns := scenario["turns"].get(name):
                lines.append(f"| {scenario['what']} | {name} | {spread_of_rates(values(turns))} | {thousands(median(values(turns, 'per_s')))} | "
                             f"{median(values(turns, 'busy')):.0%} | {sum(sum(t['errors'].values()) for t in turns)} |")
    return "\n".join(lines)


def per_request(turns, counter):
    """A counter per request over all turns, or None where the server did not tell."""
    told = [turn["counters"] for turn in turns if turn["counters"].get("requests")]
    if not told or counter not in told[0]:
        return None
    return sum(t[counter] for t in told) / sum(t["requests"] for t in told)


def counter_table(data):
    shown = [c for c in COUNTERS if c not in ("requests", "turns")]
    lines = ["| scenario | server | " + " | ".join(c.replace("_", " ") for c in shown) + " | requests per turn |", "|---|---|" + "--:|" * (len(shown) + 1)]
    for scenario in data["scenarios"].values():
        for name, turns in scenario["turns"].items():
            numbers = [per_request(turns, counter) for counter in shown]
            if any(n is not None for n in numbers):
                per_turn = per_request(turns, "turns")
                lines.append(f"| {scenario['what']} | {name} | " + " | ".join("–" if n is None else f"{n:.4g}" for n in numbers)
                             + f" | {1 / per_turn:.1f} |" if per_turn else " | – |")
    return "\n".join(lines) if len(lines) > 2 else "No server told its counters."


def best_floor(turns):
    """The floor that is harder to reach."""
    return max((f for f in FLOORS if f in turns), key=lambda f: median(values(turns[f])), default="floor")


def goal_table(data):
    lines = ["| goal | wanted | measured | |", "|---|--:|--:|---|"]
    for name, scenario, server, peer, least in GOALS:
        turns = data["scenarios"].get(scenario, {}).get("turns", {})
        own = ratios(turns, server, best_floor(turns) if peer == "floor" else peer)
        if own:
            lines.append(f"| {name} | ≥ {least} | {spread(own)} | {'met' if median(own) >= least else 'missed'} |")
    saturated = data["scenarios"].get("saturated", {}).get("turns", {}).get("penstock")
    if saturated and (calls := per_request(saturated, "syscalls")) is not None:
        lines.append(f"| system calls per request at saturation | ≤ {SYSCALLS_PER_REQUEST_MAX} | {calls:.3f} | "
                     f"{'met' if calls <= SYSCALLS_PER_REQUEST_MAX else 'missed'} |")
    if saturated and (allocations := per_request(saturated, "allocations")) is not None:
        lines.append(f"| allocations per request at saturation | 0 | {allocations:.3g} | {'met' if allocations == 0 else 'missed'} |")
    return "\n".join(lines)


def verdict_table(rows):
    """Of (goal, wanted, measured, whether met; None: not measured)."""
    verdict = {True: "met", False: "missed", None: "not measured"}
    return "\n".join(["| goal | wanted | measured | |", "|---|--:|--:|---|",
                      *(f"| {goal} | {wanted} | {measured} | {verdict[met]} |" for goal, wanted, measured, met in rows)])


def machine_lines(data):
    files = f"; {data['files']['mixed_files']:,} real files of {data['files']['mixed_bytes'] / 1e6:.0f} MB together, all in memory" if "files" in data else ""
    m = data["machine"]
    kind = "virtual machine" if m["hypervisor"] else "machine"
    return "\n".join([
        f"- {m['cpu']}, {m['cores']} cores, {m['memory_gib']} GiB, {kind}; server on one core, load on another; CPU taken by other tenants: {m['stolen_percent']} %",
        f"- Linux {m['kernel']}, governor: {m['governor']}, clock: {m['clocksource']}, mitigations: {m['mitigations']}",
        f"- {m['compiler']}; wrk {m['wrk']}",
        "- " + ", ".join(f"{name} {version}" for name, version in data["servers"].items()),
        f"- {data['when']}; {data['rounds']} rounds of {data['seconds']} s a server and scenario{files}",
    ])


def markdown(data):
    return f"""# Comparison

Made by `scripts/bench`; [how it is measured](../README.md). Requests per second of the server's CPU time, in turns on one
machine; ratios are medians over rounds, with the smallest and the largest. Files are here; applications in pools have a report
of their own, `dynamic.md`.

{ratio_table(data)}

![Ratios to nginx](ratios.svg)

## Goals

{goal_table(data)}

## Latency

Under full load from one core, so it is the time in the queue more than the server's own.

![Latency](latency.svg)

{full_table(data)}

## What a request cost penstock

{counter_table(data)}

## Machine

{machine_lines(data)}
"""


def save(data, folder, data_name, page_name, page):
    """The data and the page; gives the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / data_name).write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    (folder / page_name).write_text(page)
    return folder / page_name


def write(data, folder):
    page = save(data, folder, "report.json", "README.md", markdown(data))
    import plots  # matplotlib is slow to load, and only a report needs it
    plots.ratios(data, folder / "ratios.svg")
    plots.latency(data, folder / "latency.svg")
    return page


def with_table(text, marks, table):
    """The project's README with this table between its marks."""
    begin, end = marks
    if begin not in text or end not in text:
        raise SystemExit(f"README.md has no place for a table: {begin} … {end}")
    return re.sub(re.escape(begin) + ".*?" + re.escape(end), lambda _: f"{begin}\n{table}\n{end}", text, flags=re.S)


def load(name):
    path = REPORT / name
    return json.loads(path.read_text()) if path.exists() else None


def main():
    import bypass
    import limits
    import report_dynamic
    import report_tls
    pages = [(README, report_dynamic.readme())]
    if data := load("report.json"):
        pages.append((REPORT / "README.md", markdown(data)))
    if dynamic := load("dynamic.json"):
        pages.append((REPORT / "dynamic.md", report_dynamic.markdown(dynamic)))
    if tls := load("tls.json"):
        pages.append((REPORT / "tls.md", report_tls.markdown(tls)))
    if past := load("dpdk.json"):
        pages.append((REPORT / "dpdk.md", bypass.markdown(past)))
    if bounds := load("limits.json"):
        pages.append((REPORT / "limits.md", limits.markdown(bounds)))
    if "--check" in sys.argv[1:]:
        stale = [str(path.relative_to(TREE)) for path, want in pages if not path.exists() or path.read_text() != want]
        if stale:
            sys.exit(f"{' and '.join(stale)}: not what the data in perf/report says; run perf/compare/report.py")
        return
    if data:
        write(data, REPORT)
    if dynamic:
        report_dynamic.write(dynamic, REPORT)
    if tls:
        report_tls.write(tls, REPORT)
    if past:
        bypass.write(past, REPORT)
    if bounds:
        limits.write(bounds, REPORT)
    report_dynamic.refresh_readme()


if __name__ == "__main__":
    main()
