"""CPU time and memory of a server: the sum over a process and all its descendants, from /proc."""
import os
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def stat_fields(pid):
    """The fields of /proc/PID/stat after the command's name: state is field 0."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def name(pid):
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def family(root):
    """The process and all its living descendants."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                children.setdefault(int(stat_fields(entry)[1]), []).append(int(entry))
            except (FileNotFoundError, ProcessLookupError):
                continue
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children.get(pid, [])
    return sorted(found)


def cpu_seconds(pids):
    """User and system time of all threads of the processes (kernel workers of io_uring are threads too)."""
    total = 0
    for pid in pids:
        try:
            fields = stat_fields(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def resident_bytes(pids):
    """Proportional resident memory where the kernel tells it, else resident."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) * 1024
        except (PermissionError, StopIteration):
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return total
