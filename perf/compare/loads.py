"""What asks the servers, each for one turn: {"requests", "duration_us", "latency_us", "errors"}."""
import json
import re
import subprocess
from pathlib import Path

from servers import TREE

HERE = Path(__file__).resolve().parent
CIPHER = "TLS_AES_128_GCM_SHA256"  # all peers have it, and it is what clients with AES in their processor ask for first
NO_LATENCY = {"p50": 0, "p99": 0, "p999": 0}


def expand(scenario, scratch):
    return [arg.replace("@DIR@", str(scratch)) for arg in scenario.lua]


def run(command, core, seconds):
    done = subprocess.run(["taskset", "-c", str(core), *map(str, command)], capture_output=True, text=True, timeout=seconds + 60)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed: {done.stdout}{done.stderr}")
    return done.stdout


def wrk(server, scenario, scratch, headers, seconds, core):
    url = f"http://{server.host}:{server.port}{server.path(scenario)}"
    arguments = [field.replace(": ", ":", 1) for field in headers]
    out = run(["wrk", "-t1", f"-c{scenario.connections}", f"-d{seconds}s", "--timeout", "10s", "-s", HERE / "load.lua", url, "--",
               *expand(scenario, scratch), *arguments], core, seconds)
    lines = [line for line in out.splitlines() if line.startswith("{")]
    if not lines:
        raise RuntimeError(f"wrk said nothing: {out}")
    return json.loads(lines[-1])


def h2load(server, scenario, seconds, core, url, protocol, *options):
    out = run(["h2load", "-t1", f"-c{scenario.connections}", f"-D{seconds}", f"--tls13-ciphers={CIPHER}", *options, url + server.path(scenario)],
              core, seconds)
    counts = re.search(r"requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", out)
    codes = re.search(r"status codes: \d+ 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", out)
    if counts is None or f"Application protocol: {protocol}\n" not in out or url.startswith("https") and f"Cipher: {CIPHER}\n" not in out:
        raise RuntimeError(f"h2load did not speak {protocol} to {server.name}: {out}")
    _, succeeded, failed, errored, late = map(int, counts.groups())
    return {"requests": succeeded, "duration_us": seconds * 1e6, "latency_us": NO_LATENCY,
            "errors": {"failed": failed, "errored": errored, "timeout": late, "status": sum(map(int, codes.groups()))}}


def h2(server, scenario, scratch, headers, seconds, core):
    return h2load(server, scenario, seconds, core, f"https://127.0.0.1:{server.tls_port}", "h2", f"-m{scenario.streams}")


def h2c(server, scenario, scratch, headers, seconds, core):
    return h2load(server, scenario, seconds, core, f"http://127.0.0.1:{server.port}", "h2c", f"-m{scenario.streams}")


def h1(server, scenario, scratch, headers, seconds, core):
    return h2load(server, scenario, seconds, core, f"https://127.0.0.1:{server.tls_port}", "http/1.1", "--h1")


def h1_plain(server, scenario, scratch, headers, seconds, core):
    return h2load(server, scenario, seconds, core, f"http://127.0.0.1:{server.port}", "http/1.1", "--h1")


def handshakes(server, scenario, seconds, core, *options):
    out = run([TREE / "build/perf/load/handshakes", f"--port={server.tls_port}", f"--path={server.path(scenario)}",
               f"--connections={scenario.connections}", f"--seconds={seconds}", *options], core, seconds)
    said = json.loads(out)
    return said | {"latency_us": NO_LATENCY, "errors": {"failed": said["failed"]}}


def full(server, scenario, scratch, headers, seconds, core):
    return handshakes(server, scenario, seconds, core)


def resumed(server, scenario, scratch, headers, seconds, core):
    """All but the first of each slot must go on with a ticket."""
    load = handshakes(server, scenario, seconds, core, "--resume")
    load["errors"]["not resumed"] = max(0, load["requests"] - load["resumed"] - scenario.connections)
    return load


CLIENTS = {"wrk": wrk, "h2": h2, "h2c": h2c, "h1": h1, "h1 in cleartext": h1_plain, "full": full, "resumed": resumed}


def load(server, *arguments):
    """What the server wants to be asked by, or the scenario."""
    return CLIENTS[server.client or arguments[0].client](server, *arguments)
