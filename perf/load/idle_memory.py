#!/usr/bin/env python3
"""What does an idle connection cost?  perf/load/idle_memory.py [--connections N]

Opens 15,000 keep-alive connections from several loopback addresses, asks once on each, lets them lie, and compares the
server's memory (proportional resident, all its processes) with and without them. Wanted: at most 2 KiB a connection.
Exit code 1 where it is more. Kernel socket buffers are not in it: an idle socket holds none.
"""
import argparse
import json
import resource
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "compare"))
import machine
import procfs
import servers

BYTES_MAX = 2048
PER_ADDRESS = 5000
REQUEST = b"GET /1k.bin HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def open_idle(port, number):
    """One connection that has been answered once."""
    sock = socket.socket()
    sock.bind((f"127.0.0.{2 + number // PER_ADDRESS}", 0))
    sock.connect(("127.0.0.1", port))
    sock.sendall(REQUEST)
    data = b""
    while len(data) < 1024 or len(data.partition(b"\r\n\r\n")[2]) < 1024:
        part = sock.recv(8192)
        if not part:
            sys.exit(f"idle_memory: connection {number + 1} was closed: {data[:200]!r}")
        data += part
    if not data.startswith(b"HTTP/1.1 200 "):
        sys.exit(f"idle_memory: connection {number + 1} got {data[:40]!r}")
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
    parser.add_argument("--connections", type=int, default=15000)
    parser.add_argument("--server", choices=[n for n, kind in servers.KINDS.items() if kind.serves_files], default="penstock")
    parser.add_argument("--json", action="store_true", help="at the end a line for machines")
    args = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < args.connections + 200:
        sys.exit(f"idle_memory: needs {args.connections + 200} descriptors, the limit is {hard} (ulimit -Hn)")
    core, _ = machine.sibling_free_pair()
    scratch = Path(tempfile.mkdtemp(prefix="penstock-idle-"))
    scratch.chmod(0o755)
    server = servers.KINDS[args.server](scratch, core)
    try:
        (scratch / "www").mkdir()
        (scratch / "www/1k.bin").write_bytes(b"x" * 1024)
        server.start()
        for sock in [open_idle(server.port, n) for n in range(100)]:  # what is paid once is paid now
            sock.close()
        before = settled_memory(server)
        idle = [open_idle(server.port, n) for n in range(args.connections)]
        after = settled_memory(server)
        each = (after - before) / len(idle)
        print(f"{args.server}: {before / 1e6:.1f} MB without, {after / 1e6:.1f} MB with {len(idle)} idle connections: "
              f"{each:.0f} bytes each; wanted: at most {BYTES_MAX}")
        if args.json:
            print(json.dumps({"bytes_each": [round(each)], "most": BYTES_MAX}))
        for sock in idle:
            sock.close()
        sys.exit(0 if each <= BYTES_MAX else 1)
    except servers.StartFailed as error:
        sys.exit(f"idle_memory: {error}")
    finally:
        server.stop()
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
