#!/usr/bin/env python3
"""What do certificates cost before they are used?  perf/load/many_certificates.py [--certificates N] [--json]

Starts an instance with 10,000 sites twice, without and with a certificate and a key for each (files of their own), and tells
the time from the start to the first answer by https, the memory of the server and of all processes (proportional resident)
that a certificate costs more, and what the first handshake with one of them costs. Wanted: 2 s, and 1 KiB a certificate in
the server. Exit code 1 where it is more.
"""
import argparse
import json
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TREE / "perf/compare"))
import procfs

START_S_MAX, BYTES_MAX = 2.0, 1024


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def make_files(place, count):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3", "-keyout",
                    place / "k0.pem", "-out", place / "c0.pem", "-subj", "/CN=h.example"], check=True, capture_output=True)
    for n in range(1, count):
        shutil.copy(place / "c0.pem", place / f"c{n}.pem")
        shutil.copy(place / "k0.pem", place / f"k{n}.pem")


def write_config(place, count, certified, port):
    lines = [f"server.listen = 127.0.0.1:{free_port()}", f"server.listen_tls = 127.0.0.1:{port}", "server.reactors = 1"]
    for n in range(count):
        lines += [f"site.s{n}.hosts = h{n}.example", f"site.s{n}.root = {place}/www"]
        if n < certified:
            lines += [f"site.s{n}.tls.certificate = {place}/c{n}.pem", f"site.s{n}.tls.key = {place}/k{n}.pem"]
    (place / "penstock.conf").write_text("\n".join(lines) + "\n")


def handshake(port, name):
    context = ssl._create_unverified_context()
    with socket.create_connection(("127.0.0.1", port), 20) as plain, context.wrap_socket(plain, server_hostname=name):
        pass


def settled(pids):
    last = None
    for _ in range(20):
        now = procfs.resident_bytes(pids)
        if last is not None and abs(now - last) < 65536:
            return now
        last = now
        time.sleep(0.3)
    return last


def measure(place, count, certified):
    """(seconds to the first https answer, bytes of the server, bytes of all, seconds of the first and second handshake)"""
    port = free_port()
    write_config(place, count, certified, port)
    began = time.monotonic()
    with open(place / "words", "wb") as words:
        supervisor = subprocess.Popen([TREE / "build/penstock", "run", "-c", place / "penstock.conf", "--control", place / "control"],
                                      stdin=subprocess.DEVNULL, stdout=words, stderr=words)
    try:
        while True:
            try:
                handshake(port, "h0.example")
                break
            except OSError:
                if supervisor.poll() is not None or time.monotonic() > began + 60:
                    sys.exit(f"many_certificates: {(place / 'words').read_text()[-2000:]}")
                time.sleep(0.005)
        started = time.monotonic() - began
        pids = procfs.family(supervisor.pid)
        servers = [pid for pid in pids if b"--role\0server" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        every, server = settled(pids), settled(servers)
        times = []
        for _ in range(2):
            at = time.monotonic()
            handshake(port, f"h{certified - 1}.example")
            times.append(time.monotonic() - at)
        return started, server, every, *times
    finally:
        supervisor.terminate()
        supervisor.wait(30)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--certificates", type=int, default=10_000)
    parser.add_argument("--json", action="store_true", help="at the end a line for machines")
    args = parser.parse_args()
    count = args.certificates
    place = Path(tempfile.mkdtemp(prefix="penstock-certificates-"))
    try:
        place.chmod(0o755)
        (place / "www").mkdir()
        make_files(place, count)
        without, with_all = measure(place, count, 1), measure(place, count, count)
        each = (with_all[1] - without[1]) / count
        each_all = (with_all[2] - without[2]) / count
        print(f"{count} sites start in {without[0]:.2f} s, with a certificate each in {with_all[0]:.2f} s; wanted: at most {START_S_MAX} s\n"
              f"a certificate that is not used costs {each:.0f} bytes of the server, {each_all:.0f} of all processes; wanted: at most {BYTES_MAX}\n"
              f"the first handshake with one takes {with_all[3] * 1e3:.1f} ms, the second {with_all[4] * 1e3:.1f} ms")
        if args.json:
            print(json.dumps({"start_s": [with_all[0]], "most_start_s": START_S_MAX, "bytes_each": [round(each)], "most": BYTES_MAX}))
        sys.exit(0 if with_all[0] <= START_S_MAX and each <= BYTES_MAX else 1)
    finally:
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
