"""Issue 4, UP7: what another server on a port past the kernel costs who is there: one beside the old one, where the driver allows it; one in
the place of one that is told to end, or that was killed.

PENSTOCK_SWAPS=50: the long form of the first. `pytest -s` prints the figures that src/transport/dpdk/README.md states.
"""
import os
import signal
import socket
import struct
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from dpdk import Tap, Veth
from http_client import Closed, Connection, fetch, wait_until
from raw_tcp import ACK, PSH, RST, Client, Link

pytestmark = pytest.mark.usefixtures("network")
BODY = b"a" * 2000
PATIENCE_S = 20  # of a client: who is left without a word for as long was not told
STRAY = 50000  # a client's port
SWAPS = int(os.environ.get("PENSTOCK_SWAPS", 3))
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


def tcp_counts(*names):
    """Linux's own counts of this network."""
    counts = {}
    for file in ("netstat", "snmp"):
        lines = [line.split() for line in Path(f"/proc/thread-self/net/{file}").read_text().splitlines()]
        for keys, values in zip(lines[::2], lines[1::2]):
            counts.update((keys[0] + key, int(value)) for key, value in zip(keys[1:], values[1:]))
    return [counts[name] for name in names]


def servers(server):
    return [role["pid"] for role in server.status()["roles"] if role["role"] == "server"]


def refused(server, link):
    """Whether a segment of no connection that the server knows is answered by RST. Nothing else may come to the link."""
    link.put(STRAY, ACK | PSH, 1, 1, b"GET")
    assert fetch(server.port, "/a.txt").status == 200  # what was put before it has been heard
    return link.get(lambda segment: segment.to == STRAY and segment.has(RST), 0.1) is not None


@pytest.mark.alone
def test_up7_a_port_that_two_may_hear_goes_to_another_server_and_nothing_is_lost(make):
    server = make(transport="dpdk", device=Veth(), files={"a.txt": BODY})
    Path("/proc/sys/net/ipv4/tcp_tw_reuse").write_text("1")  # the long form takes more ports in a minute than a client has
    seen = {server.role("server")}
    pinger, clients = Pinger(server.tap.v4), Clients(server, PATIENCE_S)
    before = tcp_counts("TcpExt:TCPSynRetrans", "Tcp:RetransSegs")
    try:
        for thread in (pinger, *clients.threads):
            thread.start()
        wait_until(lambda: clients.done() > 100, what="the load is on")
        for swap in range(SWAPS):
            server.cli("sysctl", "-w", f"dpdk.spin={swap + 2}ms")
            answered = clients.done()
            seen.add(servers(server)[-1])
            wait_until(lambda: clients.done() > answered + 100, PATIENCE_S, what="it serves")
    finally:
        for thread in (clients, pinger):
            thread.stopping.set()
        for thread in (*clients.threads, pinger):
            thread.join()
    syns, segments = (now - then for now, then in zip(tcp_counts("TcpExt:TCPSynRetrans", "Tcp:RetransSegs"), before))
    print(f"\n{SWAPS} swaps: kept {dict(clients.kept)}, new {dict(clients.new)}, slowest {clients.slowest * 1000:.0f} ms, "
          f"no frame answered for {pinger.longest * 1000:.0f} ms, {syns} SYNs and {segments} segments sent again")
    assert len(seen) == SWAPS + 1
    assert clients.kept.keys() | clients.new.keys() == {"answered"}
    assert syns == 0, "a SYN was not answered"


def test_up7_a_segment_of_another_servers_connection_is_not_refused_until_that_has_ended(make):
    server = make(transport="dpdk", device=Veth(), files={"a.txt": BODY})
    wait_until(lambda: len(servers(server)) == 1)
    with Link(server.tap) as link:
        assert refused(server, link)
        idle = Client(link, STRAY + 1)
        server.cli("restart-server")
        assert len(servers(server)) == 2 and not refused(server, link)
        idle.put(ACK | PSH, b"GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle.read(len(BODY)).startswith(b"HTTP/1.1 200 "), "the old one goes on with it"
        idle.put(RST)
        wait_until(lambda: len(servers(server)) == 1, what="it has ended")
        wait_until(lambda: refused(server, link), what="who is alone refuses")


class HeldTap(Tap):
    """Whose interface outlives the server."""

    def vdev(self):
        return f"{super().vdev()},persist"


@pytest.mark.alone
@pytest.mark.parametrize("how, device", [("told", Tap), ("killed", HeldTap), ("killed", Veth)], ids=["told-tap", "killed-held_tap", "killed-packet_socket"])
def test_up7_another_server_takes_the_port_and_everybody_is_told(make, device, how):
    server = make(transport="dpdk", device=device(), files={"a.txt": BODY})
    before = server.role("server")
    index = socket.if_nametoindex(server.tap.device)
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
    assert (socket.if_nametoindex(server.tap.device) == index) == (device is not Tap)
    lost = (clients.kept + clients.new) - Counter({"answered": clients.done()})
    assert "wrong" not in lost, lost
    assert pinger.longest < 5
    if how == "told":
        assert "reset" not in lost and "left waiting" not in lost, "none is cut off within an answer"
    # One connection of each was open; none of them fails twice but for want of a way there.
    assert lost["reset"] + lost["closed"] + lost["left waiting"] <= len(clients.threads), lost
    assert lost["left waiting"] <= 3, "the others are told by a reset"
