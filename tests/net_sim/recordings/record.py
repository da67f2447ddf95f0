#!/usr/bin/env python3
"""Records what reference peers say to each other over TCP: record.py [NAME]… (all by default). README.md says what for.

Linux is at both ends, in two network namespaces, with nginx, curl, wget or a socket of its own at work; between them stands this
program with two TAP devices, loses, repeats and holds back what a scenario says, and writes down what arrives at the other end.
Of a frame its headers alone are kept. Needs root, nginx, curl, wget, iproute2.
"""
import fcntl
import os
import select
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
CLIENT, SERVER = 0, 1
SPACES = (f"record-c{os.getpid()}", f"record-s{os.getpid()}")
ADDRESSES = {4: ("10.79.0.1", "10.79.0.2"), 6: ("fd79::1", "fd79::2")}
PORT = 80
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
TCP_MAXSEG, TCP_QUICKACK, IPPROTO_MPTCP, MSG_FASTOPEN = 2, 12, 262, 0x20000000
FIN, SYN, RST = 1, 2, 4
LINGER_S = 0.3  # after the last program has ended, for what is still on the way


@dataclass
class Scenario:
    name: str
    client: list | str  # a command, or the name of a function below
    server: str = "nginx"
    family: int = 4
    sysctls: dict = field(default_factory=dict)  # of the client
    lose: dict = field(default_factory=dict)     # direction: numbers of its segments with data, from 0, that are lost
    twice: dict = field(default_factory=dict)    # … that come twice
    late: dict = field(default_factory=dict)     # … that so many others overtake
    lose_flags: list = field(default_factory=list)  # (direction, flags): the first with them is lost


def url(path, family=4):
    host = ADDRESSES[family][SERVER]
    return f"http://{f'[{host}]' if family == 6 else host}/{path}"


def curl(path, *options, family=4):
    return ["curl", "-s", "-o", "/dev/null", *options, url(path, family)]


BARE = {"tcp_timestamps": 0, "tcp_sack": 0, "tcp_window_scaling": 0}
SCENARIOS = [
    Scenario("curl-get", curl("1k")),
    Scenario("wget-three-on-one-connection", ["wget", "-q", "-O", "/dev/null", url("1k"), url("5k"), url("1k")]),
    Scenario("pipelined", "pipelined"),
    Scenario("pipelined-in-small-writes", "small_writes"),
    Scenario("server-closes-first", ["curl", "-s", "-o", "/dev/null", "-H", "Connection: close", url("5k")]),
    Scenario("curl-ipv6", curl("5k", family=6), family=6),
    Scenario("no-timestamps", curl("20k"), sysctls={"tcp_timestamps": 0}),
    Scenario("no-sack", curl("20k"), sysctls={"tcp_sack": 0}),
    Scenario("no-window-scaling", curl("20k"), sysctls={"tcp_window_scaling": 0}),
    Scenario("no-options-but-mss", curl("20k"), sysctls=BARE),
    Scenario("ecn-offered", curl("5k"), sysctls={"tcp_ecn": 1}),
    Scenario("mptcp-offered", "mptcp"),
    Scenario("fast-open-asked-for", "fast_open", sysctls={"tcp_fastopen": 1}),
    Scenario("tiny-mss", "tiny_mss"),
    Scenario("tiny-window", "tiny_window"),
    Scenario("download-loss-sack", curl("60k"), lose={SERVER: (4, 11, 12, 23, 30, 41)}),
    Scenario("download-loss-sack-ipv6", curl("60k", family=6), family=6, lose={SERVER: (3, 9, 17, 18, 19, 33)}),
    Scenario("download-loss-no-sack", curl("60k"), sysctls={"tcp_sack": 0}, lose={SERVER: (5, 22)}),
    Scenario("download-loss-bare", curl("60k"), sysctls=BARE, lose={SERVER: (7, 30)}),
    Scenario("download-tail-lost", curl("5k"), lose={SERVER: (3, 4)}),
    Scenario("download-reordered", curl("60k"), late={SERVER: {3: 2, 9: 5, 20: 1, 28: 9}}, twice={SERVER: (6, 15)}),
    Scenario("upload-loss-sack", "upload", server="sink", lose={CLIENT: (2, 9, 10, 20)}),
    Scenario("upload-loss-no-sack", "upload", server="sink", sysctls={"tcp_sack": 0}, lose={CLIENT: (3, 17)}),
    Scenario("upload-reordered", "upload", server="sink", late={CLIENT: {3: 2, 11: 6, 21: 1}}, twice={CLIENT: (5, 14)}),
    Scenario("syn-lost", curl("1k"), lose_flags=[(CLIENT, SYN)]),
    Scenario("syn-ack-lost", curl("1k"), lose_flags=[(SERVER, SYN)]),
    Scenario("client-fin-lost", curl("1k"), lose_flags=[(CLIENT, FIN)]),
    Scenario("server-fin-lost", ["curl", "-s", "-o", "/dev/null", "-H", "Connection: close", url("1k")], lose_flags=[(SERVER, FIN)]),
    Scenario("half-close", "half_close"),
    Scenario("both-ways-at-once", "both_ways", server="echo"),
    Scenario("reset-in-a-download", "reset_midway"),
    Scenario("closed-over-unread-bytes", "closed_unread"),
    Scenario("window-stuck-reader", "stuck_reader"),
    Scenario("server-does-not-read", "upload", server="late_sink"),
    Scenario("keep-alive-probes", "keepalive"),
    Scenario("urgent-data", "urgent", server="sink"),
    Scenario("idle-then-again", "idle"),
]


# ---- what the client does, in its namespace

def connected(mss=None, receive_buffer=None, protocol=0):
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol)
    if mss:
        sock.setsockopt(socket.IPPROTO_TCP, TCP_MAXSEG, mss)
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.settimeout(10)
    sock.connect((ADDRESSES[4][SERVER], PORT))
    return sock


def request(path, close=False):
    return f"GET /{path} HTTP/1.1\r\nHost: a\r\n{'Connection: close' + chr(13) + chr(10) if close else ''}\r\n".encode()


def read_to_end(sock, pause_s=0.0):
    while sock.recv(65536):
        time.sleep(pause_s)


def pipelined():
    sock = connected()
    sock.sendall(request("1k") * 5 + request("5k", close=True))
    read_to_end(sock)


def small_writes():
    sock = connected()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    text = request("1k") * 2 + request("1k", close=True)
    for at in range(0, len(text), 7):
        sock.sendall(text[at:at + 7])
    read_to_end(sock)


def mptcp():
    sock = connected(protocol=IPPROTO_MPTCP)
    sock.sendall(request("1k", close=True))
    read_to_end(sock)


def fast_open():
    sock = socket.socket()
    sock.sendto(request("1k", close=True), MSG_FASTOPEN, (ADDRESSES[4][SERVER], PORT))
    sock.settimeout(10)
    read_to_end(sock)


def tiny_mss():
    sock = connected(mss=88)
    sock.sendall(request("1k", close=True))
    read_to_end(sock)


def tiny_window():
    sock = connected(receive_buffer=2304)
    sock.sendall(request("5k", close=True))
    while sock.recv(300):
        time.sleep(0.005)


def upload():
    sock = connected()
    sock.sendall(b"u" * 40_000)
    sock.shutdown(socket.SHUT_WR)
    read_to_end(sock)


def half_close():
    sock = connected()
    sock.sendall(request("20k", close=True))
    sock.shutdown(socket.SHUT_WR)
    read_to_end(sock)


def both_ways():
    sock = connected()
    for _ in range(6):
        sock.sendall(b"b" * 3_000)
        left = 3_000
        while left:
            left -= len(sock.recv(left))


def reset_midway():
    sock = connected(receive_buffer=8_192)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.sendall(request("60k"))
    sock.recv(2_000)
    sock.close()


def closed_unread():
    sock = connected()
    sock.sendall(request("5k"))
    time.sleep(0.1)
    sock.close()


def stuck_reader():
    sock = connected(receive_buffer=6_000)
    sock.sendall(request("20k", close=True))
    time.sleep(2.5)
    read_to_end(sock)


def keepalive():
    sock = connected()
    for option, value in ((socket.TCP_KEEPIDLE, 1), (socket.TCP_KEEPINTVL, 1)):
        sock.setsockopt(socket.IPPROTO_TCP, option, value)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.sendall(request("1k"))
    time.sleep(3.5)
    sock.sendall(request("1k", close=True))
    read_to_end(sock)


def urgent():
    sock = connected()
    sock.sendall(b"abc")
    sock.send(b"!", socket.MSG_OOB)
    sock.sendall(b"def")
    sock.shutdown(socket.SHUT_WR)
    read_to_end(sock)


def idle():
    sock = connected()
    for pause_s in (0.7, 1.5):
        sock.sendall(request("20k"))
        time.sleep(pause_s)
        sock.recv(65_536)
    sock.sendall(request("1k", close=True))
    read_to_end(sock)


# ---- what the server does, in its namespace

def accepted():
    listener = socket.create_server(("", PORT))
    print("listening", flush=True)
    return listener.accept()[0]


def sink():
    sock = accepted()
    read_to_end(sock)
    sock.sendall(b"taken")
    sock.close()


def late_sink():
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 6_000)
    listener.bind(("", PORT))
    listener.listen()
    print("listening", flush=True)
    sock = listener.accept()[0]
    time.sleep(2)
    read_to_end(sock)
    sock.sendall(b"taken")


def echo():
    sock = accepted()
    while data := sock.recv(65_536):
        sock.sendall(data)


def nginx(scratch):
    (scratch / "www").mkdir()
    for size in (1, 5, 20, 60):
        (scratch / f"www/{size}k").write_bytes(b"x" * size * 1_000)
    scratch.chmod(0o755)
    (scratch / "nginx.conf").write_text(
        f"daemon off; worker_processes 1; pid {scratch}/pid; error_log {scratch}/error.log;\n"
        "events { worker_connections 16; }\n"
        f"http {{ access_log off; sendfile on; server {{ listen 80; listen [::]:80; root {scratch}/www; }} }}\n")
    return ["nginx", "-p", scratch, "-e", scratch / "error.log", "-c", scratch / "nginx.conf"]


# ---- the wire between them

def headers_size(frame):
    """Of Ethernet, IP and TCP; 0 where it is something else."""
    kind = frame[12:14]
    if kind == b"\x08\x00" and frame[23] == 6:
        at = 14 + (frame[14] & 15) * 4
    elif kind == b"\x86\xdd" and frame[20] == 6:
        at = 54
    else:
        return 0
    return at + (frame[at + 12] >> 4) * 4


def payload_size(frame, head):
    total = struct.unpack("!H", frame[16:18])[0] + 14 if frame[12:14] == b"\x08\x00" else struct.unpack("!H", frame[18:20])[0] + 54
    return total - head


class Wire(threading.Thread):
    """Carries frames from one TAP device to the other, but for what the scenario does to them, and writes them down."""

    def __init__(self, scenario, taps, out):
        super().__init__(daemon=True)
        self.scenario, self.taps, self.out = scenario, taps, out
        self.counts = [0, 0]
        self.held = ([], [])  # of each direction: [frame, how many may still overtake it]
        self.flags_left = list(scenario.lose_flags)
        self.ended = False
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 128, 1))
        self.began = time.monotonic()

    def run(self):
        while not self.ended:
            for tap in select.select(self.taps, [], [], 0.05)[0]:
                self.carry(self.taps.index(tap), os.read(tap, 4096))

    def carry(self, direction, frame):
        head = headers_size(frame)
        if not head:
            os.write(self.taps[1 - direction], frame)
            return
        flags = frame[head - (frame[14 + (20 if frame[12:14] == b"\x08\x00" else 40) + 12] >> 4) * 4 + 13]
        for lost in self.flags_left:
            if lost[0] == direction and flags & lost[1]:
                self.flags_left.remove(lost)
                return
        number = None
        if payload_size(frame, head) > 0:
            number = self.counts[direction]
            self.counts[direction] += 1
        scenario = self.scenario
        if number is not None and number in scenario.lose.get(direction, ()):
            return
        if number is not None and number in scenario.late.get(direction, {}):
            self.held[direction].append([frame, scenario.late[direction][number]])
            return
        self.pass_on(direction, frame)
        if number is not None and number in scenario.twice.get(direction, ()):
            self.pass_on(direction, frame)
        for late in self.held[direction]:
            late[1] -= 1
        while self.held[direction] and self.held[direction][0][1] <= 0:
            self.pass_on(direction, self.held[direction].pop(0)[0])

    def pass_on(self, direction, frame):
        head = headers_size(frame)
        seconds, fraction = divmod(time.monotonic() - self.began, 1)
        self.out.write(struct.pack("<IIII", int(seconds), int(fraction * 1e6), head, head + payload_size(frame, head)) + frame[:head])
        os.write(self.taps[1 - direction], frame)


def tap(side, family):
    fd = os.open("/dev/net/tun", os.O_RDWR)
    name = f"rec{side}x{os.getpid() % 100_000}"
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    run("ip", "link", "set", name, "netns", SPACES[side])
    inside(side, "ip", "link", "set", "lo", "up")
    inside(side, "ip", "link", "set", name, "address", f"02:00:00:00:79:0{side + 1}")
    inside(side, "ip", "addr", "add", f"{ADDRESSES[family][side]}/{24 if family == 4 else 64}", "dev", name, *(["nodad"] if family == 6 else []))
    inside(side, "ip", "link", "set", name, "up")
    return fd


def run(*command):
    subprocess.run([*map(str, command)], check=True)


def inside(side, *command):
    run("ip", "netns", "exec", SPACES[side], *command)


def spawn(side, what, scratch, **more):
    command = what if isinstance(what, list) else nginx(scratch) if what == "nginx" else [sys.executable, __file__, "--play", what]
    return subprocess.Popen(["ip", "netns", "exec", SPACES[side], *map(str, command)], **more)


def record(scenario):
    """Makes the two hosts anew, so that nothing is left of an earlier scenario (congestion metrics, cookies)."""
    scratch = Path(tempfile.mkdtemp())
    taps, server = [], None
    try:
        for side in (CLIENT, SERVER):
            run("ip", "netns", "add", SPACES[side])
            taps.append(tap(side, scenario.family))
        for name, value in ({"tcp_no_metrics_save": 1} | scenario.sysctls).items():
            inside(CLIENT, "sysctl", "-qw", f"net.ipv4.{name}={value}")
        with open(HERE / f"{scenario.name}.pcap", "wb") as out:
            wire = Wire(scenario, taps, out)
            wire.start()
            server = spawn(SERVER, scenario.server, scratch, stdout=subprocess.PIPE)
            if scenario.server == "nginx":
                time.sleep(0.5)
            else:
                server.stdout.readline()
            client = spawn(CLIENT, scenario.client, scratch)
            if client.wait(30) != 0:
                raise RuntimeError(f"{scenario.name}: the client has failed")
            time.sleep(LINGER_S + (2 if scenario.lose_flags else 0))
            wire.ended = True
            wire.join()
    finally:
        if server is not None:
            server.terminate()
            server.wait()
        for fd in taps:
            os.close(fd)
        for space in SPACES:
            subprocess.run(["ip", "netns", "del", space], stderr=subprocess.DEVNULL)
        shutil.rmtree(scratch)


def main():
    if sys.argv[1:2] == ["--play"]:
        globals()[sys.argv[2]]()
        return
    wanted = sys.argv[1:]
    for scenario in SCENARIOS:
        if wanted and scenario.name not in wanted:
            continue
        record(scenario)
        print(f"{scenario.name}: {(HERE / f'{scenario.name}.pcap').stat().st_size} bytes", flush=True)


if __name__ == "__main__":
    main()
