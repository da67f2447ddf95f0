"""Where a server past the kernel spends its time: samples of its processes (perf record), by stage."""
import re
import shutil
import subprocess

HZ = 4999
# The first that matches a sample's library or function has it.
STAGES = [
    ("driver and frames", r"^librte_|DpdkPort|rte_|memif"),
    ("checksums", r"internet_sum|pseudo_header_sum"),
    ("TCP and IP", r"NetStack|IpLayer|Neighbour|IndexPool|ConnectionTable|tuple_hash|siphash|parse_(tcp|ip|ethernet)|write_(tcp|ip|ethernet)|RttEstimator|"
                   r"Cubic|Reno|SackScoreboard"),
    ("the seam", r"EngineTransport|FileChunks|H2Transport|TlsTransport|ProxyTransport"),
    ("HTTP and cache", r"parse|Parser|scan|deliver|lookup|Cache|Entry|Variant|hash_key|Outgoing|walk|step|route|Route|Site|Connection|connection_|Journal|Record"),
    ("the turn", r"^\[vdso|Reactor|PoolBridge|Loader|TimerWheel|clock|Clock|Core|allocations"),
    ("the kernel", r"^\[kernel|^\[guest"),
]
OTHER = "memory, and the rest"


class Profile:
    """perf, beside one turn; without it nothing is known."""

    def __init__(self, scratch, pids, seconds):
        self.path, self.process = scratch / "stages.data", None
        if shutil.which("perf"):
            self.process = subprocess.Popen(["perf", "record", "-q", "-e", "cpu-clock", "-F", str(HZ), "-o", self.path, "-p", ",".join(map(str, pids)),
                                             "--", "sleep", f"{seconds:.1f}"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                            stderr=subprocess.DEVNULL)

    def stop(self):
        if self.process is not None:
            self.process.wait(60)

    def shares(self, total):
        """`total` by stage; None where nobody could look."""
        if self.process is None or self.process.returncode != 0:
            return None
        done = subprocess.run(["perf", "report", "-i", self.path, "--no-children", "--stdio", "-g", "none", "-F", "overhead,dso,sym", "-t", "|"],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)
        return by_stage(done.stdout, total) if done.returncode == 0 else None


def by_stage(text, total):
    found = {name: 0.0 for name, _ in STAGES} | {OTHER: 0.0}
    for line in text.splitlines():
        fields = [field.strip() for field in line.split("|")]
        if line.startswith("#") or len(fields) != 3 or not fields[0].endswith("%"):
            continue
        stage = next((name for name, words in STAGES if any(re.search(words, field) for field in fields[1:])), OTHER)
        found[stage] += float(fields[0][:-1]) / 100
    return {name: round(share * total, 1) for name, share in found.items()} if sum(found.values()) > 0 else None
