"""What the numbers were measured on. No host or user name: the report is public."""
import os
import platform
import subprocess
from pathlib import Path


def first(path, default=""):
    try:
        return Path(path).read_text().strip()
    except OSError:
        return default


def of_cpuinfo(name, default):
    for line in first("/proc/cpuinfo").splitlines():
        if line.startswith(name):
            return line.partition(":")[2].strip()
    return default


def command_line(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return "unknown"


def describe():
    memory_kib = int(first("/proc/meminfo").split()[1])
    mitigations = sorted(Path("/sys/devices/system/cpu/vulnerabilities").glob("*"))
    return {
        "cpu": of_cpuinfo("model name", platform.machine()),
        "mhz": round(float(of_cpuinfo("cpu MHz", "0"))),
        "cores": os.cpu_count(),
        "hypervisor": " hypervisor " in first("/proc/cpuinfo"),
        "memory_gib": round(memory_kib / (1 << 20), 1),
        "kernel": platform.release(),
        "governor": first("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "not visible"),
        "clocksource": first("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "mitigations": ", ".join(p.name for p in mitigations if first(p).startswith("Mitigation")) or "none",
        "compiler": command_line("c++", "--version"),
        "wrk": "4.1.0 (Debian)" if "4.1.0" in command_line("dpkg-query", "-W", "-f", "${Version}\n", "wrk") else
               command_line("dpkg-query", "-W", "-f", "${Version}\n", "wrk"),
    }


def sibling_free_pair():
    """(server core, load core): two allowed cores that are not threads of one core, where there are such."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise SystemExit("bench: needs two cores, one for the server and one for the load")
    siblings = first(f"/sys/devices/system/cpu/cpu{allowed[0]}/topology/thread_siblings_list", str(allowed[0]))
    together = set()
    for part in siblings.split(","):
        low, _, high = part.partition("-")
        together |= set(range(int(low), int(high or low) + 1))
    apart = [core for core in allowed[1:] if core not in together]
    return allowed[0], (apart or allowed[1:])[0]


def stolen_and_total():
    """CPU ticks that a hypervisor took away, and all ticks, since boot."""
    fields = [int(x) for x in first("/proc/stat").splitlines()[0].split()[1:9]]
    return fields[7], sum(fields)
