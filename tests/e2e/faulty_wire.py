"""A wire with faults between an instance past the kernel and Linux: frames are lost, doubled and overtaken, from a seed.

    faulty_wire.py DEVICE WIRE LOSE DOUBLE DELAY SEED      chances in 1,000; makes the TAP device WIRE, says "ready", ends by SIGTERM

DEVICE is the kernel's end of the instance's net_tap: a packet socket on it stands in for the kernel, and what it gets goes to
WIRE, where Linux's addresses are. Nothing in the server is changed for it.
"""
import fcntl
import os
import random
import select
import socket
import struct
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
ETH_P_ALL = 3
BEHIND_MAX = 4  # frames that overtake a delayed one


class Faults:
    """What becomes of each frame of one direction."""

    def __init__(self, lose, double, delay, seed):
        self.lose, self.double, self.delay, self.random = lose, double, delay, random.Random(seed)
        self.held = []  # [frames that still overtake it, frame]

    def pass_on(self, frame, put):
        chance = self.random.randrange
        out = []
        if chance(1000) < self.lose:
            pass
        elif chance(1000) < self.delay:
            self.held.append([1 + chance(BEHIND_MAX), frame])
        else:
            out.append(frame)
            if chance(1000) < self.double:
                out.append(frame)
        for one in self.held:
            one[0] -= 1
        out += [one[1] for one in self.held if one[0] <= 0]
        self.held = [one for one in self.held if one[0] > 0]
        for one in out:
            put(one)

    def flush(self, put):
        """Nobody came to overtake them."""
        for one in self.held:
            put(one[1])
        self.held = []


def main(device, name, lose, double, delay, seed):
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    packets.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUFFORCE if hasattr(socket, "SO_RCVBUFFORCE") else 33, 16 << 20)
    packets.bind((device, 0))
    packets.setblocking(False)
    here, there = Faults(lose, double, delay, seed), Faults(lose, double, delay, seed + 1)

    def to_wire(frame):
        try:
            os.write(tap, frame)
        except OSError:
            pass  # its queue is full, or it is not up: lost

    def to_server(frame):
        try:
            packets.send(frame)
        except OSError:
            pass
    print("ready", flush=True)
    while True:
        ready, _, _ = select.select([tap, packets], [], [], 0.002)
        if not ready:
            here.flush(to_wire)
            there.flush(to_server)
        for _ in range(64):
            try:
                frame, address = packets.recvfrom(2048)
            except BlockingIOError:
                break
            if address[2] != socket.PACKET_OUTGOING:
                here.pass_on(frame, to_wire)
        for _ in range(64):
            try:
                there.pass_on(os.read(tap, 2048), to_server)
            except (BlockingIOError, OSError):
                break


@contextmanager
def faulty_wire(tap, lose=0, double=0, delay=0, seed=1):
    """Puts it between `tap`'s instance and Linux, whose addresses move to its other end."""
    name = f"wire{tap.number}"
    ip = ["ip", "link", "set", tap.device]
    silent = f"/proc/sys/net/ipv6/conf/{tap.device}/disable_ipv6"
    Path(silent).write_text("1")
    subprocess.run(["ip", "addr", "flush", "dev", tap.device], check=True)
    subprocess.run([*ip, "up"], check=True)
    process = subprocess.Popen([sys.executable, __file__, tap.device, name, *map(str, (lose, double, delay, seed))], stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"ready\n"
        tap.address(name)
        yield
    finally:
        process.terminate()
        process.wait()
        Path(silent).write_text("0")
        tap.address(tap.device)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
