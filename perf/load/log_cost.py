#!/usr/bin/env python3
"""What does logging cost the requests?  perf/load/log_cost.py [--rounds N] [--seconds N]

Three questions to one server on one core with its logd, whose access log is on: how much more time of the processor a request
takes, of all processes together, while `penstock log follow --where 'status>=500'` looks on (wanted: at most 1 %); how much
the 99th percentile of a load that leaves the server half idle moves while logd stands still for 100 ms, goes on for 100 ms
and so on, as behind a disk that stalls (wanted: at most 5 %); and how long a request takes without an access log, of which
the journal must be at most 2 % (micro/journal_bench says what it takes). All in turns. Exit code 1 where one of the first
two is more. Loopback only, about 2 minutes.
"""
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from statistics import median

import one_server
from one_server import servers

FOLLOWER_MAX = 1.01
STALL_MAX = 1.05
STALL_S = 0.1


class Bench(one_server.Bench):
    def settle(self):
        """Until logd has read all there is: what it does for the requests of one turn is not counted for the next."""
        while json.loads(self.penstock("status", "--json"))["journal"]["bytes_waiting"] > 0:
            pass

    def cpu_us(self):
        self.settle()
        return super().cpu_us()

    def p99(self):
        return self.load(32, "delay=10")["latency_us"]["p99"]

    @contextlib.contextmanager
    def followed(self):
        command = ["taskset", "-c", str(self.core), self.server.binary(), "log", "follow", "--where", "status>=500", "--control", self.server.control]
        with subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL) as follower:
            yield
            if follower.poll() is not None:
                sys.exit("log_cost: nobody followed the log")
            follower.terminate()

    @contextlib.contextmanager
    def stalled(self):
        roles = json.loads(self.penstock("status", "--json"))["roles"]
        logd = next(role["pid"] for role in roles if role["role"] == "logd")
        over = threading.Event()

        def stop_and_go():
            while not over.is_set():
                os.kill(logd, signal.SIGSTOP)
                over.wait(STALL_S)
                os.kill(logd, signal.SIGCONT)
                over.wait(STALL_S)
        thread = threading.Thread(target=stop_and_go)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            os.kill(logd, signal.SIGCONT)


def measure(args):
    found = {"request_us": [], "logged_us": [], "followed_us": [], "p99_us": [], "stalled_p99_us": []}
    with one_server.running(Bench, servers.Penstock, args.seconds) as (server, scratch):
        (scratch / "log").mkdir()
        (scratch / "log").chmod(0o777)
        for turn in range(args.rounds):
            server.set("log.access.format=none")
            found["request_us"].append(server.cpu_us())
            server.set("log.access.format=w3c", f"log.access.path={scratch}/log/access.log", "log.access.rotate_bytes=64m", "log.access.keep=1")
            found["logged_us"].append(server.cpu_us())
            with server.followed():
                found["followed_us"].append(server.cpu_us())
            found["p99_us"].append(server.p99())
            with server.stalled():
                found["stalled_p99_us"].append(server.p99())
            print(f"round {turn + 1}: a request {found['request_us'][-1]:.2f} µs without a log, {found['logged_us'][-1]:.2f} with one, "
                  f"{found['followed_us'][-1]:.2f} followed; p99 {found['p99_us'][-1]} µs, {found['stalled_p99_us'][-1]} beside a logd that stalls", flush=True)
    return found


def main():
    args = one_server.arguments(__doc__, 5, 4, "measurement")
    found = measure(args)
    ratios = {what: [with_it / without for with_it, without in zip(found[one], found[other])]
              for what, one, other in (("follower", "followed_us", "logged_us"), ("stall", "stalled_p99_us", "p99_us"))}
    print(f"a follower costs {median(ratios['follower']) - 1:+.1%} of a request; wanted: at most {FOLLOWER_MAX - 1:+.0%}")
    print(f"a logd that stalls moves the p99 by {median(ratios['stall']) - 1:+.1%}; wanted: at most {STALL_MAX - 1:+.0%}")
    if args.json:
        print(json.dumps({"request_us": found["request_us"], "follower": ratios["follower"], "follower_most": FOLLOWER_MAX,
                          "stall": ratios["stall"], "stall_most": STALL_MAX}))
    sys.exit(0 if median(ratios["follower"]) <= FOLLOWER_MAX and median(ratios["stall"]) <= STALL_MAX else 1)


if __name__ == "__main__":
    main()
