"""A network namespace of the test's own for instances past the kernel: Linux's TCP is their peer, over net_tap."""
import ctypes
import itertools
import os
import subprocess
import time
from contextlib import contextmanager

from instance import BINARY

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)
NUMBERS = itertools.count()


def why_not():
    """What this machine or build lacks; empty when all is there."""
    if os.geteuid() != 0:
        return "needs root"
    features = subprocess.run([BINARY, "features"], capture_output=True, text=True).stdout
    if not any(line.split()[:2] == ["+", "dpdk"] for line in features.splitlines()):
        return "this build has no dpdk"
    if not os.path.exists("/dev/net/tun"):
        return "no /dev/net/tun"
    return ""


@contextmanager
def own_network():
    """The calling thread, and all it starts, in a fresh network namespace."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        if LIBC.unshare(CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        yield
    finally:
        LIBC.setns(before, CLONE_NEWNET)
        os.close(before)


class Port(int):
    """A port number that knows its host, for http_client."""

    def __new__(cls, number, host):
        port = super().__new__(cls, number)
        port.host = host
        return port


class Tap:
    """Names and addresses of one instance's device: penstock's end is .1, Linux's .2."""

    def __init__(self):
        self.number = next(NUMBERS) % 250
        self.device = f"dtap{self.number}"
        self.v4, self.v6 = f"10.77.{self.number}.1", f"fd77:{self.number:x}::1"
        self.port = Port(80, self.v4)

    def config(self, extra=""):
        return (f"server.listen = {self.v4}:80 [{self.v6}]:80\nserver.transport = dpdk\n"
                f"dpdk.device = net_tap{self.number},iface={self.device}\ndpdk.addresses = {self.v4}/24 {self.v6}/64\n"
                f"dpdk.hugepages = 0\ndpdk.spin = 1ms\n{extra}")

    def bring_up(self, seconds=10):
        """Linux's end gets its addresses as soon as it is there."""
        deadline = time.monotonic() + seconds
        while subprocess.run(["ip", "link", "show", self.device], capture_output=True).returncode != 0:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        self.address(self.device)
        return True

    def address(self, device):
        """Linux's addresses are on `device`, and that is up."""
        for words in (["addr", "replace", f"{self.v4[:-1]}2/24", "dev", device], ["-6", "addr", "replace", f"{self.v6[:-1]}2/64", "dev", device, "nodad"],
                      ["link", "set", device, "up"]):
            subprocess.run(["ip", *words], check=True, capture_output=True)
