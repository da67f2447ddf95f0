#!/usr/bin/env python3
"""What does an idle connection cost?  perf/load/idle_memory.py [--over plain|tls|h2] [--connections N]

Opens 15,000 keep-alive connections (3,000 over TLS, or with HTTP/2 over TLS) from several loopback addresses, asks once on
each, lets them lie, and compares the server's memory (proportional resident, all its processes) with and without them.
Wanted: at most 2 KiB a connection, 24 KiB with TLS, 40 KiB with HTTP/2 over it. Exit code 1 where it is more. Kernel
socket buffers are not in it: an idle socket holds none.
"""
import argparse
import json
import resource
import shutil
import socket
import ssl
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "compare"))
import machine
import procfs
import secure
import servers

BYTES_MAX = {"plain": 2048, "tls": 24 * 1024, "h2": 40 * 1024}
CONNECTIONS = {"plain": 15000, "tls": 3000, "h2": 3000}
PER_ADDRESS = 5000
REQUEST = b"GET /1k.bin HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
# RFC 9113 and 7541: the preface, empty SETTINGS, and GET /1k.bin by the static table; DATA with END_STREAM ends the answer.
H2_HEAD = b"\x82\x87\x04\x07/1k.bin\x01\x09127.0.0.1"
H2_REQUEST = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]) + bytes([0, 0, len(H2_HEAD), 1, 5, 0, 0, 0, 1]) + H2_HEAD
H2_DATA, H2_END_STREAM = 0, 1


def context(over):
    """What TLS is told of the client; None: it does not speak it."""
    if over == "plain":
        return None
    made = ssl._create_unverified_context()
    made.set_alpn_protocols(["h2" if over == "h2" else "http/1.1"])
    return made


def is_whole(data):
    """Whether the answer of 1 KiB over HTTP/1.1 has come; a wrong one never is."""
    return data.startswith(b"HTTP/1.1 200 ") and len(data.partition(b"\r\n\r\n")[2]) >= 1024


def is_whole_h2(data):
    while len(data) >= 9:
        size, kind, flags = int.from_bytes(data[:3], "big"), data[3], data[4]
        if kind == H2_DATA and flags & H2_END_STREAM:
            return len(data) >= 9 + size
        data = data[9 + size:]
    return False


def open_idle(port, number, over, tls):
    """One connection that has been answered once."""
    sock = socket.socket()
    sock.bind((f"127.0.0.{2 + number // PER_ADDRESS}", 0))
    sock.connect(("127.0.0.1", port))
    if tls:
        sock = tls.wrap_socket(sock, server_hostname="localhost")
    sock.sendall(H2_REQUEST if over == "h2" else REQUEST)
    data = b""
    while not (is_whole_h2 if over == "h2" else is_whole)(data):
        part = sock.recv(8192)
        if not part:
            sys.exit(f"idle_memory: connection {number + 1} was closed: {data[:200]!r}")
        data += part
    return sock


def settled_memory(server):
    """Memory when it no longer moves (freed pages go back with a delay)."""
    last = None
    for _ in range(20):
        now = procfs.resident_bytes(server.pids)
        if last is not None and abs(now - last) < 65536:
            return now
        last = now
        time.sleep(0.5)
    return last


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--over", choices=[*CONNECTIONS], default="plain")
    parser.add_argument("--connections", type=int)
    parser.add_argument("--server", choices=[n for n, kind in servers.KINDS.items() if kind.serves_files], default="penstock")
    parser.add_argument("--json", action="store_true", help="at the end a line for machines")
    args = parser.parse_args()
    args.connections = args.connections or CONNECTIONS[args.over]
    most, kinds = BYTES_MAX[args.over], servers.KINDS if args.over == "plain" else secure.KINDS
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < args.connections + 200:
        sys.exit(f"idle_memory: needs {args.connections + 200} descriptors, the limit is {hard} (ulimit -Hn)")
    core, _ = machine.sibling_free_pair()
    scratch = Path(tempfile.mkdtemp(prefix="penstock-idle-"))
    scratch.chmod(0o755)
    server = kinds[args.server](scratch, core)
    try:
        (scratch / "www").mkdir()
        (scratch / "www/1k.bin").write_bytes(b"x" * 1024)
        secure.make_certificate(scratch)
        server.start()
        port, tls = server.tls_port or server.port, context(args.over)
        for sock in [open_idle(port, n, args.over, tls) for n in range(100)]:  # what is paid once is paid now
            sock.close()
        before = settled_memory(server)
        idle = [open_idle(port, n, args.over, tls) for n in range(args.connections)]
        after = settled_memory(server)
        each = (after - before) / len(idle)
        print(f"{args.server}: {before / 1e6:.1f} MB without, {after / 1e6:.1f} MB with {len(idle)} idle connections: "
              f"{each:.0f} bytes each; wanted: at most {most}")
        if args.json:
            print(json.dumps({"bytes_each": [round(each)], "most": most}))
        for sock in idle:
            sock.close()
        sys.exit(0 if each <= most else 1)
    except servers.StartFailed as error:
        sys.exit(f"idle_memory: {error}")
    finally:
        server.stop()
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
