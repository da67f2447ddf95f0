#!/usr/bin/env python3
"""Does a peer that resets 50,000 streams a second hurt the others?  perf/load/rapid_reset.py [--rounds N]

One HTTP/2 connection asks and resets at that rate, and comes back as soon as it is closed. Meanwhile a normal load that
leaves the server half idle is measured, in turns with the attack on the server and with the same attack on a decoy, which
shares the core of the normal load as the attacker does. Wanted: each of its connections is closed within a second, and
the attack moves the normal load's 99th percentile by at most 30 %. Exit code 1 where it does more. Loopback only, a minute.
"""
import argparse
import json
import os
import selectors
import socket
import struct
import sys
import threading
import time
from statistics import median

import slowloris
from slowloris import servers

RESETS_PER_S = 50_000
STEP_S = 0.004
RATIO_MAX = 1.3
CLOSED_MAX_S = 1
HEADERS, RST_STREAM, SETTINGS, END_STREAM_AND_HEADERS, CANCEL = 1, 3, 4, 5, 8
# GET, http, a path and an authority that enter no table (RFC 7541 section 6.2.2): the same bytes each time.
BLOCK = b"\x82\x86\x04\x07/1k.bin\x01\x09127.0.0.1"
# Of one connection; the decoy, which closes none, is left behind so many.
STREAMS = 1000
PATIENCE_S = 5


def frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def steps_of_a_connection():
    """What is sent at each step: the preface and the first streams, then more."""
    each = int(RESETS_PER_S * STEP_S)
    pairs = [frame(HEADERS, END_STREAM_AND_HEADERS, s, BLOCK) + frame(RST_STREAM, 0, s, struct.pack(">I", CANCEL)) for s in range(1, 2 * STREAMS, 2)]
    steps = [b"".join(pairs[at:at + each]) for at in range(0, STREAMS, each)]
    steps[0] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, b"") + steps[0]
    return steps


class Attack(threading.Thread):
    """Connections one after the other, from one core, until told to stop. `closes`: whoever is attacked ends each of them."""

    def __init__(self, port, core, closes):
        super().__init__(daemon=True)
        self.port, self.core, self.closes = port, core, closes
        self.lasted = []  # of each that was closed: seconds from its first stream on
        self.resets = 0
        self.stopping = threading.Event()

    def run(self):
        os.sched_setaffinity(0, {self.core})
        steps = steps_of_a_connection()
        started = time.monotonic()
        due = started
        while not self.stopping.is_set():
            with socket.create_connection(("127.0.0.1", self.port)) as sock, selectors.DefaultSelector() as selector:
                selector.register(sock, selectors.EVENT_READ)
                began = time.monotonic()
                for step in steps:
                    due += STEP_S
                    if is_over := not self.send(sock, step) or self.ended(sock, selector, due):
                        break
                if self.closes and (is_over or self.ended(sock, selector, began + PATIENCE_S)):
                    self.lasted.append(time.monotonic() - began)
                elif self.closes:
                    self.lasted.append(PATIENCE_S)
        self.rate = self.resets / (time.monotonic() - started)

    def send(self, sock, step):
        try:
            sock.sendall(step)
        except OSError:
            return False
        self.resets += step.count(BLOCK)
        return True

    @staticmethod
    def ended(sock, selector, until):
        """Whether the server closes the connection before the next step is due."""
        while (left := until - time.monotonic()) > 0:
            for _ in selector.select(left):
                try:
                    if not sock.recv(65536):
                        return True
                except OSError:
                    return True
        return False


class Http2Penstock(servers.Penstock):
    def template(self, name, **more):
        return super().template(name, **more | {"TLS": "http2.cleartext = 1"})


def under_attack(port, server, seconds, core):
    attack = Attack(port, core, closes=port == server.port)
    attack.start()
    time.sleep(0.5)
    p99 = median(slowloris.normal_p99(server, core) for _ in range(seconds))
    attack.stopping.set()
    attack.join()
    return p99, attack


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5, help="measurements of a second each, of which the median counts")
    parser.add_argument("--json", action="store_true", help="at the end a line for machines")
    args = parser.parse_args()
    with slowloris.beside_decoy(Http2Penstock) as (server, decoy, load_core):
        alone, attacked, lasted = [], [], []
        for turn in range(args.rounds):
            alone.append(under_attack(decoy.port, server, args.seconds, load_core)[0])
            p99, attack = under_attack(server.port, server, args.seconds, load_core)
            attacked.append(p99)
            lasted.append(max(attack.lasted))
            print(f"round {turn + 1}: p99 {alone[-1]:.0f} µs beside the decoy's attacker, {p99:.0f} µs beside one at {attack.rate:.0f} resets "
                  f"a second, closed {len(attack.lasted)} times, after {lasted[-1] * 1000:.0f} ms at most", flush=True)
        ratio = median(attacked) / median(alone)
        print(f"p99 moved by {ratio - 1:+.0%}; wanted: at most {RATIO_MAX - 1:+.0%}; closed after {max(lasted):.3f} s, wanted: {CLOSED_MAX_S} s")
        if args.json:
            print(json.dumps({"ratios": [a / b for a, b in zip(attacked, alone)], "seconds": lasted, "most": RATIO_MAX, "most_seconds": CLOSED_MAX_S}))
        sys.exit(0 if ratio <= RATIO_MAX and max(lasted) <= CLOSED_MAX_S else 1)


if __name__ == "__main__":
    main()
