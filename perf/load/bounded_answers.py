#!/usr/bin/env python3
"""Do the answers that have a bound of their own keep it?  perf/load/bounded_answers.py [--rounds N] [--seconds N]

What a redirect by a route, one to https, and a hit with Strict-Transport-Security over TLS cost a server on one core, beside
the hit of 1 KiB without them (wanted: at most 1 / 0.9 of its time of the processor), in turns; how long a client over
limits.connections waits for its whole 503 (at most 100 µs, p50 of 2,000 one after the other, each of which asks as soon
as it is connected; whoever says nothing is told after 10 ms at most); and how long the listing of
a folder with 10,000 files takes that has just changed (at most 30 ms, p50 of 20). Exit code 1 where one is more. Loopback
only, about a minute.
"""
import json
import os
import socket
import sys
import time
from pathlib import Path
from statistics import median

import one_server
import secure

RATIO_MAX = round(1 / 0.9, 3)
REFUSAL_US_MAX = 100
LISTING_MS_MAX = 30
REFUSALS = 2000
LISTINGS = 20
FILES = 10_000
REQUEST = b"GET /1k.bin HTTP/1.1\r\nHost: x\r\n\r\n"


class Server(secure.SecurePenstock):
    def pool(self):
        return "\n".join([
            f"site.bench.route.old.prefix = /old/\nsite.bench.route.old.handler = redirect\nsite.bench.route.old.to = /new$path$query",
            "site.bench.route.many.prefix = /many\nsite.bench.route.many.listing = 1",
            f"site.moved.hosts = moved.example\nsite.moved.root = {self.scratch}/www\nsite.moved.https_redirect = 301",
        ])


def prepare(scratch):
    secure.make_certificate(scratch)
    (scratch / "www/many").mkdir()
    for number in range(FILES):
        (scratch / f"www/many/file-{number:05}.txt").touch()


def ratios_of(server):
    """Of one round: each beside the hit without it, taken right before."""
    hit = server.cpu_us()
    found = {"redirect": server.cpu_us(path="/old/a") / hit, "https_redirect": server.cpu_us(host="moved.example") / hit}
    over_tls = server.cpu_us(tls=True)
    server.set("site.bench.hsts.enable=1")
    found["hsts"] = server.cpu_us(tls=True) / over_tls
    server.set("site.bench.hsts.enable=")
    return found


class Bench(one_server.Bench):
    def load(self, connections, *options, host="", **more):
        return super().load(connections, *options, *([f"Host:{host}"] if host else []), **more)


def connected(server):
    return socket.create_connection(("127.0.0.1", server.server.port), timeout=10)


def answer_of(sock):
    """Its head and body, which it must say the length of."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += received(sock)
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), None)
    if length is None:
        sys.exit(f"an answer without a length: {head!r}")
    while len(body) < length:
        body += received(sock)
    return head, body


def received(sock):
    part = sock.recv(1 << 20)
    if not part:
        sys.exit("a connection ended before its answer was whole")
    return part


def refusal_us(server):
    """From the end of connect() to the last byte of the 503, of a client that asks then, as clients do."""
    open_now = json.loads(server.penstock("stats", "--json"))["counters"]["connections_open"]
    with connected(server):
        server.set(f"limits.connections={open_now + 1}")
        spans = []
        for _ in range(REFUSALS):
            with connected(server) as sock:
                began = time.perf_counter_ns()
                sock.sendall(REQUEST)
                head, _ = answer_of(sock)
                spans.append((time.perf_counter_ns() - began) / 1000)
            if not head.startswith(b"HTTP/1.1 503 "):
                sys.exit(f"a connection too many is answered {head[:40]!r}")
        server.set("limits.connections=")
    return median(spans)


def listing_ms(server, scratch):
    spans = []
    with connected(server) as sock:
        for number in range(LISTINGS):
            (scratch / f"www/many/new-{number}").touch()
            began = time.perf_counter_ns()
            sock.sendall(b"GET /many/ HTTP/1.1\r\nHost: x\r\n\r\n")
            head, body = answer_of(sock)
            spans.append((time.perf_counter_ns() - began) / 1e6)
            if not head.startswith(b"HTTP/1.1 200 ") or body.count(b"file-") < FILES or b"new-%d" % number not in body:
                sys.exit(f"the listing is not whole: {head[:40]!r}, {len(body)} bytes")
        for number in range(LISTINGS):
            (scratch / f"www/many/new-{number}").unlink()
    return median(spans)


def measure(args):
    found = {name: [] for name in ("redirect", "https_redirect", "hsts", "refusal_us", "listing_ms")}
    with one_server.running(Bench, Server, args.seconds, prepare) as (server, scratch):
        os.sched_setaffinity(0, {server.core})
        for turn in range(args.rounds):
            now = ratios_of(server) | {"refusal_us": refusal_us(server), "listing_ms": listing_ms(server, scratch)}
            for name, value in now.items():
                found[name].append(value)
            print(f"round {turn + 1}: a redirect {now['redirect']:.2f} of a hit, one to https {now['https_redirect']:.2f}, HSTS {now['hsts']:.2f} of none; "
                  f"a 503 over the limit {now['refusal_us']:.0f} µs, a listing {now['listing_ms']:.1f} ms", flush=True)
    return found


def main():
    args = one_server.arguments(__doc__, 3, 2, "load")
    most = {"redirect": RATIO_MAX, "https_redirect": RATIO_MAX, "hsts": RATIO_MAX, "refusal_us": REFUSAL_US_MAX, "listing_ms": LISTING_MS_MAX}
    found = measure(args)
    missed = [name for name in most if median(found[name]) > most[name]]
    print("wanted: " + ", ".join(f"{name} at most {limit:g}" for name, limit in most.items()) + "; missed: " + (", ".join(missed) or "none"))
    if args.json:
        print(json.dumps({"found": found, "most": most}))
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
