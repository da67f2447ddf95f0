"""A network namespace of the test's own for instances past the kernel: Linux's TCP is their peer, over net_tap."""
import ctypes
import fcntl
import itertools
import os
import socket
import struct
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

from instance import BINARY

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)
NUMBERS = itertools.count()
DRIVER = os.environ.get("PENSTOCK_DPDK_DRIVER", "tap")  # of instances that name no device: tap, af_packet or af_xdp
OVER_V6 = bool(os.environ.get("PENSTOCK_DPDK_V6"))  # they are asked over IPv6
SIOCETHTOOL = 0x8946
ETHTOOL_OFF = {"checksums": 0x17, "segmentation by the device": 0x1F, "segmentation": 0x24, "joining": 0x2C}


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


@contextmanager
def peer_network(tap):
    """The calling thread in a network that is not the server's, and Linux's end of its device there: a host and its peer.

    Gives what plugs in the device of another server.
    """
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        with own_network():
            peer = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
            def plug():
                LIBC.setns(home, CLONE_NEWNET)
                try:
                    assert tap.wait_for_device()
                    subprocess.run(["ip", "link", "set", tap.device, "netns", f"/proc/self/fd/{peer}"], check=True, pass_fds=(peer,))
                finally:
                    LIBC.setns(peer, CLONE_NEWNET)
                tap.address(tap.device)
            try:
                plug()
                yield plug
            finally:
                os.close(peer)
    finally:
        os.close(home)


def ping(host, seconds=10):
    """Whether an echo request comes back as it was sent."""
    v6, body = ":" in host, os.urandom(600)
    head = struct.pack("!BBHHH", 128 if v6 else 8, 0, 0, os.getpid() & 0xFFFF, 1)
    if not v6:  # else the kernel makes the checksum
        total = sum(struct.unpack(f"!{(len(head) + len(body)) // 2}H", head + body))
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        head = head[:2] + struct.pack("!H", ~total & 0xFFFF) + head[4:]
    family, protocol = (socket.AF_INET6, socket.IPPROTO_ICMPV6) if v6 else (socket.AF_INET, socket.IPPROTO_ICMP)
    with socket.socket(family, socket.SOCK_RAW, protocol) as raw:
        raw.settimeout(seconds)
        raw.sendto(head + body, (host, 0))
        try:
            while True:
                answer = raw.recv(4096)[0 if v6 else 20:]
                if answer[0] == (129 if v6 else 0):
                    return answer[8:] == body
        except TimeoutError:
            return False


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
        self.port = Port(80, self.v6 if OVER_V6 else self.v4)

    def vdev(self):
        return f"net_tap{self.number},iface={self.device}"

    def config(self, extra=""):
        return (f"server.listen = {self.v4}:80 [{self.v6}]:80\nserver.transport = dpdk\n"
                f"dpdk.device = {self.vdev()}\ndpdk.addresses = {self.v4}/24 {self.v6}/64\n"
                f"dpdk.hugepages = 0\ndpdk.spin = 1ms\n{extra}")

    def wait_for_device(self, seconds=10):
        """Whether Linux's end is there."""
        deadline = time.monotonic() + seconds
        while subprocess.run(["ip", "link", "show", self.device], capture_output=True).returncode != 0:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def bring_up(self, seconds=10):
        """Linux's end gets its addresses as soon as it is there."""
        if not self.wait_for_device(seconds):
            return False
        self.address(self.device)
        return True

    def address(self, device):
        """Linux's addresses are on `device`, and that is up."""
        for words in (["addr", "replace", f"{self.v4[:-1]}2/24", "dev", device], ["-6", "addr", "replace", f"{self.v6[:-1]}2/64", "dev", device, "nodad"],
                      ["link", "set", device, "up"]):
            subprocess.run(["ip", *words], check=True, capture_output=True)


class Veth(Tap):
    """The same over net_af_packet: a packet socket on one end of a pair, of which the other end is Linux's."""

    def __init__(self):
        super().__init__()
        self.device, self.ours = f"veth{self.number}", f"dpdk{self.number}"
        subprocess.run(["ip", "link", "add", self.device, "type", "veth", "peer", "name", self.ours], check=True)
        for device in (self.device, self.ours):
            self.plain_frames(device)
        Path(f"/proc/sys/net/ipv6/conf/{self.ours}/disable_ipv6").write_text("1")  # nobody but us is there
        subprocess.run(["ip", "link", "set", self.ours, "up"], check=True)

    def vdev(self):
        return f"net_af_packet{self.number},iface={self.ours}"

    @staticmethod
    def plain_frames(device):
        """What leaves it is what a wire would carry: no frames beyond the MTU, no checksums left to a card."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            for command in ETHTOOL_OFF.values():
                value = bytearray(struct.pack("II", command, 0))
                request = struct.pack("16sP16x", device.encode(), ctypes.addressof(ctypes.c_char.from_buffer(value)))
                fcntl.ioctl(any_socket, SIOCETHTOOL, request)


class Xdp(Veth):
    """AF_XDP on one end of a pair."""

    def vdev(self):
        return f"net_af_xdp{self.number},iface={self.ours}"


def chosen_device():
    """For an instance that names none."""
    return {"tap": Tap, "af_packet": Veth, "af_xdp": Xdp}[DRIVER]()
