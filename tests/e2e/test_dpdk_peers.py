"""Issue 4: bad wires and bad peers past the kernel. The wire is faulty_wire.py's, what Linux's TCP does not do is raw_tcp.py's."""
import errno
import os
import random
import socket
import subprocess
import threading
import time

import pytest
from conftest import needs
from faulty_wire import faulty_wire
from http_client import Connection, wait_until
from raw_tcp import ACK, FIN, PSH, RST, SYN, Client, Link

pytestmark = pytest.mark.usefixtures("network")
LONG = bool(os.environ.get("PENSTOCK_TEST_LONG"))  # 100 MiB instead of the sizes below
MIB = 1 << 20
REQUEST = b"GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n"
A = b"a" * 1000


@needs("curl")
@needs("wget")
@pytest.mark.parametrize("lose, mib", [(10, 20), (50, 2)], ids=["1_percent", "5_percent"])
def test_downloads_are_exact_over_a_wire_that_loses_doubles_and_reorders(make, tmp_path, lose, mib):
    body = random.Random(lose).randbytes((100 if LONG else mib) * MIB)
    server = make(transport="dpdk", files={"big.bin": body})
    with faulty_wire(server.tap, lose=lose, double=5, delay=10, seed=lose):
        for number, (program, host) in enumerate([("curl", server.tap.v4), ("wget", f"[{server.tap.v6}]")]):
            target = tmp_path / str(number)
            output = ["-sgf", "-o"] if program == "curl" else ["-q", "-O"]
            done = subprocess.run([program, *output, target, f"http://{host}/big.bin"], timeout=600)
            assert done.returncode == 0 and target.read_bytes() == body, program


def test_an_upload_arrives_over_a_bad_wire(make):
    """Towards us loss is repaired as well: a request head in many segments."""
    server = make(transport="dpdk", files={"a.txt": A})
    with faulty_wire(server.tap, lose=50, double=20, delay=50, seed=3):
        with Connection(server.port, timeout=60) as connection:
            for number in range(20):
                assert connection.request("/a.txt", fields=[f"X-Filler: {'f' * 7000}{number}"]).body == A


def test_a_syn_flood_does_not_keep_a_client_from_being_served(make):
    server = make(transport="dpdk", files={"a.txt": A})
    stop = threading.Event()
    sent = [0]
    with Link(server.tap) as link:
        def flood():
            chance = random.Random(1)
            while not stop.is_set():
                for _ in range(50):
                    source = link.own[:3] + bytes([chance.randrange(100, 250)])
                    link.put(chance.randrange(1024, 65536), SYN, chance.randrange(1 << 32), 0, source=source)
                sent[0] += 50
        flooder = threading.Thread(target=flood)
        flooder.start()
        try:
            wait_until(lambda: sent[0] > 3000, 20, what="the flood")  # more than may be half open
            served = 0
            while sent[0] < 20_000 or served < 20:
                with Connection(server.port) as connection:
                    assert connection.request("/a.txt").body == A
                served += 1
        finally:
            stop.set()
            flooder.join()
    assert server.fetch("/a.txt").body == A


def test_ports_that_come_again_at_once_are_served_at_once(make):
    """The server has closed first, so its end is in TIME-WAIT when the same port comes again."""
    server = make(transport="dpdk", files={"a.txt": A})
    source = (f"{server.tap.v4[:-1]}2", 45_000)
    began = time.monotonic()
    for _ in range(100):
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            client.settimeout(20)
            client.bind(source)
            wait_until(lambda: client.connect_ex((server.tap.v4, 80)) != errno.EADDRNOTAVAIL, 20, what="Linux to have its last ACK")
            client.sendall(REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            got = b""
            while chunk := client.recv(65536):
                got += chunk
            assert got.endswith(A)
    assert time.monotonic() - began < 60, "one TIME-WAIT takes as long"


def test_a_reset_must_have_the_exact_number(make):
    """RFC 5961 section 3: one in the window alone is challenged, and the connection lives."""
    server = make(transport="dpdk", files={"a.txt": A})
    with Link(server.tap) as link:
        client = Client(link, 40_001)
        for guess in (1, 1000, 60_000):
            client.put(RST, seq=client.seq + guess)
            challenge = client.get(lambda s: s.flags == ACK)
            assert challenge is not None and challenge.ack == client.seq
        client.put(RST, seq=client.seq - 100)  # outside: nothing
        client.put(ACK | PSH, REQUEST)
        assert client.read(1000).startswith(b"HTTP/1.1 200")
        client.put(RST)
        client.put(ACK | PSH, REQUEST)
        assert client.get(lambda s: s.has(RST)) is not None, "it is gone"


def test_a_syn_on_an_open_connection_is_challenged(make):
    """RFC 5961 section 4."""
    server = make(transport="dpdk", files={"a.txt": A})
    with Link(server.tap) as link:
        client = Client(link, 40_002)
        client.put(SYN, seq=client.seq + 5)
        assert client.get(lambda s: s.flags == ACK) is not None
        client.put(ACK | PSH, REQUEST)
        assert client.read(1000).startswith(b"HTTP/1.1 200")


def test_bytes_that_were_never_sent_cannot_be_acknowledged(make):
    """An optimistic acknowledger gains nothing: RFC 9293 section 3.10.7.4, RFC 5961 section 5."""
    body = random.Random(5).randbytes(400_000)
    server = make(transport="dpdk", files={"big.bin": body})
    with Link(server.tap) as link:
        client = Client(link, 40_003, window=4000)
        client.put(ACK | PSH, REQUEST.replace(b"a.txt", b"big.bin"))
        first = client.get(lambda s: s.data)
        for ahead in (5_000, 100_000, 1 << 30):
            client.put(ACK, ack=client.ack + ahead)
        answer = client.get(lambda s: s.flags == ACK)
        assert answer is not None, "it is told where we are"
        # Nothing was skipped: all of it is there, from the first byte.
        assert first.seq == client.ack
        got = first.data
        client.ack += len(first.data)
        client.put(ACK, window=60_000)
        while not got.endswith(body):
            more = client.read(1)
            assert more, f"it ends after {len(got)}"
            got += more
        assert got.startswith(b"HTTP/1.1 200")


def test_a_shut_window_holds_nobody_up_and_is_probed(make):
    body = random.Random(6).randbytes(300_000)
    server = make(transport="dpdk", files={"big.bin": body, "a.txt": A})
    with Link(server.tap) as link:
        stuck = []
        for number in range(20):
            client = Client(link, 41_000 + number, window=0)
            client.put(ACK | PSH, REQUEST.replace(b"a.txt", b"big.bin"))
            stuck.append(client)
        assert server.fetch("/a.txt").body == A
        last = stuck[-1]
        probe = last.get(lambda s: len(s.data) == 1, 10)
        assert probe is not None and probe.seq == last.ack
        last.ack += 1
        last.window = 60_000
        last.put(ACK)
        got = probe.data
        while not got.endswith(body):
            more = last.read(1)
            assert more, f"it ends after {len(got)}"
            got += more
        assert server.fetch("/a.txt").body == A


def test_half_a_close_is_answered_to_the_end(make):
    body = random.Random(7).randbytes(100_000)
    server = make(transport="dpdk", files={"big.bin": body})
    with Link(server.tap) as link:
        client = Client(link, 40_005)
        client.put(ACK | PSH | FIN, REQUEST.replace(b"a.txt", b"big.bin"))
        got = client.read(1 << 20)
        assert got.endswith(body)
        client.put(ACK)


@needs("curl")
@needs("tcpdump")
@needs("tshark")
def test_an_expert_finds_nothing_wrong_in_what_we_send(make, tmp_path):
    """What tshark calls malformed or an error is none of our segments, on a bad wire, too; on a good one nothing is worth a warning."""
    body = random.Random(8).randbytes(MIB)
    server = make(transport="dpdk", files={"big.bin": body, "a.txt": A})
    capture = tmp_path / "capture"
    for lose in (0, 20):
        with faulty_wire(server.tap, lose=lose, double=lose, delay=lose, seed=8):
            tcpdump = subprocess.Popen(["tcpdump", "-Z", "root", "-U", "-i", server.tap.device, *(["-Q", "in"] if lose else []), "-w", capture], stderr=subprocess.PIPE)
            try:
                assert any(b"listening" in line for line in tcpdump.stderr)  # reads as far as that
                for host in (server.tap.v4, f"[{server.tap.v6}]"):
                    for path in ("a.txt", "big.bin"):
                        assert subprocess.run(["curl", "-sgf", "-o", tmp_path / "got", f"http://{host}/{path}"], timeout=120).returncode == 0
            finally:
                tcpdump.terminate()
                tcpdump.wait()
        fields = ["-T", "fields", "-e", "frame.number", "-e", "_ws.expert.severity", "-e", "_ws.expert.message"]
        ours = f"(ip.src == {server.tap.v4} or ipv6.src == {server.tap.v6})"
        # The same bytes again within 3 ms pass for late ones that overlap; other bytes there are the conflict.
        wrong = ("tcp.checksum.status == 0 or ip.checksum.status == 0 or tcp.option.len.invalid or tcp.segment.overlap.conflict or "
                 "((_ws.malformed or _ws.expert.severity == error) and not _ws.expert.message contains \"overlaps old data\")"
                 + " or _ws.expert.severity == warning" * (not lose))
        found = subprocess.run(["tshark", "-r", capture, "-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-Y", f"{ours} and ({wrong})", *fields],
                               capture_output=True, text=True, timeout=120)
        assert found.returncode == 0 and found.stdout == "", found.stdout[:2000] + found.stderr[:2000]
