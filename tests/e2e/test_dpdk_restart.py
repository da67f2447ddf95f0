"""Issue 4, UP7: what another server on a port past the kernel costs who is there: one in the place of one that is told to end, or that was killed.

`pytest -s` prints the figures that src/transport/dpdk/README.md states.
"""
import os
import signal
import socket
import struct
import subprocess
import threading
import time
from collections import Counter

import pytest
from dpdk import Tap, Veth
from http_client import Closed, Connection, wait_until

pytestmark = pytest.mark.usefixtures("network")
BODY = b"a" * 2000
PATIENCE_S = 20  # of a client: who is left without a word for as long was not told
SHORT_S = 5  # … whose server was killed: nobody knows of a request that was acknowledged before, until the client speaks again


class Keeper(threading.Thread):
    """Gives Linux's end of the port its addresses whenever it comes anew: net_tap's goes with the server."""

    def __init__(self, tap):
        super().__init__(daemon=True)
        self.tap, self.stopping = tap, threading.Event()

    def run(self):
        seen = socket.if_nametoindex(self.tap.device)
        while not self.stopping.wait(0.002):
            try:
                index = socket.if_nametoindex(self.tap.device)
                if index != seen:
                    self.tap.address(self.tap.device)
                    seen = index
            except (OSError, subprocess.CalledProcessError):  # it went, or went again
                pass


class Pinger(threading.Thread):
    """Echo requests all the time; when the last was answered."""

    def __init__(self, host):
        super().__init__(daemon=True)
        self.host, self.stopping = host, threading.Event()
        self.longest = 0.0

    def run(self):
        request = struct.pack("!BBHHH", 8, 0, ~(0x0800 + 1) & 0xFFFF, 1, 0)  # whose checksum is this short
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
            raw.settimeout(0.004)
            last = time.monotonic()
            while not self.stopping.wait(0.002):
                try:
                    raw.sendto(request, (self.host, 0))
                    while raw.recv(200)[20] != 0:
                        pass
                except OSError:
                    continue
                now = time.monotonic()
                self.longest, last = max(self.longest, now - last), now


class Clients:
    """Some keep their connection as long as they can, some have one for each request; what became of each request."""

    def __init__(self, server, patience_s, kept=4, new=4):
        self.server, self.patience_s, self.stopping = server, patience_s, threading.Event()
        self.kept, self.new, self.slowest = Counter(), Counter(), 0.0
        self.threads = [threading.Thread(target=self.work, args=(self.kept, True)) for _ in range(kept)]
        self.threads += [threading.Thread(target=self.work, args=(self.new, False)) for _ in range(new)]

    def work(self, counts, keep):
        connection, last = None, False
        while not self.stopping.is_set():
            began = time.monotonic()
            try:
                if connection is None:
                    connection = Connection(self.server.port, timeout=self.patience_s)
                answer = connection.request("/a.txt", host="x")
                outcome = "answered" if answer.status == 200 and answer.body == BODY else "wrong"
                last = answer.all("Connection") == ["close"]
            except TimeoutError:
                outcome = "left waiting"
            except ConnectionResetError:
                outcome = "reset"
            except OSError as error:
                outcome = error.strerror or "closed"
            except Closed:
                outcome = "closed"
            counts[outcome] += 1
            self.slowest = max(self.slowest, time.monotonic() - began)
            if connection is not None and (not keep or last or outcome != "answered"):
                connection.close()
                connection = None
            if outcome not in ("answered", "reset", "closed"):
                time.sleep(0.01)  # no route: the interface is gone

    def done(self):
        return self.kept["answered"] + self.new["answered"]


@pytest.mark.parametrize("device", [Tap, Veth], ids=["tap", "packet_socket"])
@pytest.mark.parametrize("how", ["told", "killed"])
def test_up7_another_server_takes_the_port_and_everybody_is_told(make, device, how):
    server = make(transport="dpdk", device=device(), files={"a.txt": BODY})
    before = server.role("server")
    keeper, pinger, clients = Keeper(server.tap), Pinger(server.tap.v4), Clients(server, PATIENCE_S if how == "told" else SHORT_S)
    for thread in (keeper, pinger, *clients.threads):
        thread.start()
    try:
        wait_until(lambda: clients.done() > 100, what="the load is on")
        if how == "told":
            server.cli("sysctl", "-w", "dpdk.spin=2ms")  # a key of the port's
        else:
            os.kill(before, signal.SIGKILL)
        wait_until(lambda: server.role("server") not in (before, None), 10, what="another server")
        seen = clients.kept["answered"], clients.new["answered"]
        wait_until(lambda: clients.kept["answered"] > seen[0] + 20 and clients.new["answered"] > seen[1] + 20, PATIENCE_S, what="it serves")
    finally:
        for thread in (clients, pinger, keeper):
            thread.stopping.set()
        for thread in (*clients.threads, pinger, keeper):
            thread.join()
    print(f"\n{device.__name__}, {how}: kept {dict(clients.kept)}, new {dict(clients.new)}, slowest {clients.slowest:.2f} s, "
          f"no frame answered for {pinger.longest * 1000:.0f} ms")
    lost = (clients.kept + clients.new) - Counter({"answered": clients.done()})
    assert "wrong" not in lost, lost
    assert pinger.longest < 5
    if how == "told":
        assert "reset" not in lost and "left waiting" not in lost, "none is cut off within an answer"
    if how == "told" and device is Veth:
        assert clients.new.keys() == {"answered"}, "a SYN comes again"
    # One connection of each was open; none of them fails twice but for want of a way there.
    assert lost["reset"] + lost["closed"] + lost["left waiting"] <= len(clients.threads), lost
    assert lost["left waiting"] <= 3, "the others are told by a reset"
