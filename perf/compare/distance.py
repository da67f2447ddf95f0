"""How far the server's core is from the load's: two processes that share a ring in memory feel it, and a virtual machine's cores are moved as it pleases its host."""
import subprocess
from statistics import median

import servers

LINE_TRIP = servers.TREE / "build/perf/load/line_trip"
NEAR_NS = 150  # a cache line's way to the other core and back: 50 to 100 where they share a cache, else 200 and more
NEAR, FAR = "near", "far"


def line_trip_ns(core, other):
    return int(subprocess.run([LINE_TRIP, str(core), str(other)], capture_output=True, text=True, check=True, timeout=60).stdout)


def of(turn):
    """NEAR or FAR; None: not measured, or the cores were moved during the turn."""
    trips = turn.get("line_ns", [])
    kinds = {NEAR if trip < NEAR_NS else FAR for trip in trips}
    return kinds.pop() if len(kinds) == 1 else None


def alike(ours, others, key):
    """Each turn of `ours` to the median of those of `others` at the same distance; where those have none, round by round if as many."""
    if not any("line_ns" in other for other in others):
        beside = [other[key] for other in others]
        return [turn[key] / other for turn, other in zip(ours, beside if len(beside) == len(ours) else [median(beside)] * len(ours))] if beside else []
    same = {kind: [other[key] for other in others if of(other) == kind] for kind in (NEAR, FAR)}
    return [turn[key] / median(same[of(turn)]) for turn in ours if same.get(of(turn))]
