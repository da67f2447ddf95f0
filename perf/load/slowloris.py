#!/usr/bin/env python3
"""Does a slowloris attack hurt the others?  perf/load/slowloris.py [--attackers N] [--rounds N]

5,000 connections send one byte of a request head every 5 s and come back when they are closed. Meanwhile a normal load
that leaves the server half idle is measured, in turns with the attack on the server and with the same attack on a decoy, since
the attackers share the core of the normal load and delay it whomever they attack. Wanted: the attack moves the normal load's
99th percentile by at most 20 %. Exit code 1 where it does more. Loopback only, about 3 minutes.
"""
import argparse
import contextlib
import json
import os
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "compare"))
import machine
import servers

BYTE_EVERY_S = 5
RATIO_MAX = 1.2
HEAD = b"GET /1k.bin HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: " + b"a" * 4000


class Attack(threading.Thread):
    """Keeps `count` slow connections open until told to stop, from one core."""

    def __init__(self, port, count, core):
        super().__init__(daemon=True)
        self.port, self.count, self.core = port, count, core
        self.selector = selectors.DefaultSelector()
        self.sent = {}  # socket → bytes of HEAD sent
        self.closed = self.refused = 0
        self.stopping = threading.Event()

    def open_one(self):
        sock = socket.socket()
        try:
            sock.connect(("127.0.0.1", self.port))
        except OSError:
            self.refused += 1
            sock.close()
            return
        sock.setblocking(False)
        self.sent[sock] = 0
        self.selector.register(sock, selectors.EVENT_READ)

    def drop(self, sock):
        self.selector.unregister(sock)
        del self.sent[sock]
        sock.close()
        self.closed += 1

    def send_bytes(self, share):
        """One byte each on the next `share` connections, oldest first."""
        for sock in list(self.sent)[:share]:
            position = self.sent.pop(sock)
            self.sent[sock] = position + 1  # to the end of the line
            try:
                sock.send(HEAD[position:position + 1])
            except OSError:
                self.drop(sock)

    def run(self):
        os.sched_setaffinity(0, {self.core})
        step = 0.005
        while not self.stopping.is_set():
            turn_ends = time.monotonic() + step
            for key, _ in self.selector.select(0):
                self.drop(key.fileobj)  # an answer (408) or the end: either way the server has let go
            for _ in range(min(20, self.count - len(self.sent))):
                self.open_one()
            self.send_bytes(int(self.count * step / BYTE_EVERY_S) + 1)
            time.sleep(max(0, turn_ends - time.monotonic()))
        for sock in list(self.sent):
            sock.close()


def normal_p99(server, core):
    """Of one second, so that a pause of the machine spoils one of many figures."""
    command = ["taskset", "-c", str(core), "wrk", "-t1", "-c32", "-d1s", "-s", str(servers.HERE / "load.lua"),
               f"http://127.0.0.1:{server.port}/1k.bin", "--", "delay=10"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    load = json.loads([line for line in done.stdout.splitlines() if line.startswith("{")][-1])
    if any(load["errors"].values()):
        sys.exit(f"slowloris: the normal load met errors: {load['errors']}")
    return load["latency_us"]["p99"]


def under_attack(port, server, args, core):
    """The normal load's 99th percentile while somebody, or the server itself, is attacked; and the attack."""
    attack = Attack(port, args.attackers, core)
    attack.start()
    deadline = time.monotonic() + 30
    while len(attack.sent) < args.attackers * 0.98 and time.monotonic() < deadline:
        time.sleep(0.1)
    attack.held = len(attack.sent)
    p99 = median(normal_p99(server, core) for _ in range(args.seconds))
    attack.stopping.set()
    attack.join()
    return p99, attack


@contextlib.contextmanager
def beside_decoy(kind):
    """A server of that kind with one small file, a decoy on another core, and that core, which is the load's."""
    core, load_core = machine.sibling_free_pair()
    scratch = Path(tempfile.mkdtemp(prefix="penstock-attack-"))
    scratch.chmod(0o755)
    server = kind(scratch, core)
    decoy = servers.KINDS["floor-epoll"](scratch, load_core)
    try:
        (scratch / "www").mkdir()
        (scratch / "www/1k.bin").write_bytes(b"x" * 1024)
        server.start()
        decoy.start()
        yield server, decoy, load_core
    except servers.StartFailed as error:
        sys.exit(f"{Path(sys.argv[0]).name}: {error}")
    finally:
        server.stop()
        decoy.stop()
        shutil.rmtree(scratch, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attackers", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=8, help="measurements of a second each, of which the median counts")
    parser.add_argument("--server", choices=[n for n, kind in servers.KINDS.items() if kind.serves_files], default="penstock")
    parser.add_argument("--json", action="store_true", help="at the end a line for machines")
    args = parser.parse_args()
    with beside_decoy(servers.KINDS[args.server]) as (server, decoy, load_core):
        alone, attacked = [], []
        for turn in range(args.rounds):
            alone.append(under_attack(decoy.port, server, args, load_core)[0])
            p99, attack = under_attack(server.port, server, args, load_core)
            attacked.append(p99)
            print(f"round {turn + 1}: p99 {alone[-1]:.0f} µs beside the decoy's attackers, {p99:.0f} µs beside {attack.held} "
                  f"({attack.closed} closed by the server, {attack.refused} refused)", flush=True)
        ratio = median(attacked) / median(alone)
        print(f"{args.server}: p99 moved by {ratio - 1:+.0%}; wanted: at most {RATIO_MAX - 1:+.0%}")
        if args.json:
            print(json.dumps({"ratios": [a / b for a, b in zip(attacked, alone)], "most": RATIO_MAX}))
        sys.exit(0 if ratio <= RATIO_MAX else 1)


if __name__ == "__main__":
    main()
