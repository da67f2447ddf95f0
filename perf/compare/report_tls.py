"""The report on TLS and HTTP/2: tls.json, tls.md and its plot."""
from statistics import median

import limits
import report
import report_dynamic

# goal, scenario, ours, beside whom, at least
GOALS = [
    ("h2, 1 KiB, 1 connection × 32 streams, to nginx", "h2-c1", "penstock", "nginx", 1.5),
    ("h2, 1 KiB, 32 connections × 32 streams, to nginx", "h2-c32", "penstock", "nginx", 1.5),
    ("h2, 1 KiB, 1 connection × 32 streams, to h2o", "h2-c1", "penstock", "h2o", 1.0),
    ("h2, 1 KiB, 32 connections × 32 streams, to h2o", "h2-c32", "penstock", "h2o", 1.0),
    ("HTTP/1.1 over TLS, 1 KiB, to nginx", "h1-tls", "penstock", "nginx", 1.3),
    ("1 MiB over TLS, to nginx", "h1-tls-1m", "penstock", "nginx", 1.0),
    ("full handshakes (TLS 1.3, P-256), key process counted, to nginx", "full", "penstock", "nginx", 0.9),
    ("resumed handshakes, to nginx", "resumed", "penstock", "nginx", 1.0),
    ("h2c, 1 KiB, to our own HTTP/1.1", "own", "penstock-h2c", "penstock-h1", 0.7),
    ("h2 over TLS, 1 KiB, to our own HTTP/1.1 over TLS", "own-tls", "penstock-h2", "penstock-h1-tls", 0.7),
]
NAMES = ("penstock", "nginx", "h2o", "penstock-h2c", "penstock-h1", "penstock-h2", "penstock-h1-tls")


def goal_rows(data):
    for goal, scenario, ours, peer, least in GOALS:
        own = report.ratios(report_dynamic.turns_of(data, scenario), ours, peer)
        yield goal, f"≥ {least:g}", report.spread(own), median(own) >= least if own else None
    yield from limits.bound_rows(data["rows"])


def compared(data):
    """The scenarios with peers, for the table and the plot."""
    return report_dynamic.only(data, lambda name, s: report.PEER in s["turns"])


def markdown(data):
    absent = "".join(f"- left out: {name}: {reason}\n" for name, reason in data["absent"].items())
    return f"""# Comparison: TLS and HTTP/2

Made by `scripts/bench --only tls`; [how it is measured](../README.md). Requests per second of CPU time of all the server's processes,
penstock's key process among them, in turns on one machine; a certificate for ECDSA P-256, TLS 1.3, AES-128-GCM on each. Ratios are
medians over rounds, with the smallest and the largest.

{report.ratio_table(compared(data))}

![Ratios to nginx](tls-ratios.svg)

## Goals

{report.verdict_table(goal_rows(data))}

## Rates

{report.rate_table(data, NAMES)}

## What a request cost penstock

{report.counter_table(data)}

## Machine

{report.machine_lines(data)}
{absent}"""


def write(data, folder):
    page = report.save(data, folder, "tls.json", "tls.md", markdown(data))
    import plots  # matplotlib is slow to load, and only a report needs it
    if (drawn := compared(data))["scenarios"]:
        plots.ratios(drawn, folder / "tls-ratios.svg")
    return page
