"""Issue 3 §1, DY4, and DY11: bodies of any length cost the server no memory, and many workers run side by side.

PENSTOCK_STREAM_MIB=10240 for ten GiB each way; PENSTOCK_WORKERS=200 for as many workers."""
import os
import socket
import threading

import pytest
from http_client import wait_until
from instance import BINARY, ONE_SITE, resident
from test_pools_life import LIFE, config, fetch, show

MIB = int(os.environ.get("PENSTOCK_STREAM_MIB", "256"))
WORKERS = int(os.environ.get("PENSTOCK_WORKERS", "20"))
STREAMS = 4  # at once; huge pages make memory grow in steps of 2 MiB, so that one alone says little
GROWTH_MAX = STREAMS * (4 << 20)
UPLOAD = BINARY.parent / "pool/sdk/upload"


class Watch:
    """The most that a process grows by while the block runs."""

    def __init__(self, pid):
        self.pid, self.before, self.most, self.over = pid, resident(pid), 0, threading.Event()
        self.thread = threading.Thread(target=self.look)

    def look(self):
        while not self.over.wait(0.02):
            self.most = max(self.most, resident(self.pid))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    @property
    def growth(self):
        return max(self.most - self.before, 0)


def upload(port, mebibytes):
    """The answer to a body of so many mebibytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as peer:
        peer.sendall(f"POST /app/up HTTP/1.1\r\nHost: h\r\nContent-Length: {mebibytes << 20}\r\nConnection: close\r\n\r\n".encode())
        piece = bytes(1 << 20)
        for _ in range(mebibytes):
            peer.sendall(piece)
        answer = b""
        while part := peer.recv(65536):
            answer += part
    return answer.decode()


def uploads(port, mebibytes):
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(upload(port, mebibytes))) for _ in range(STREAMS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == STREAMS and all(f"{mebibytes << 20} bytes, hash" in answer for answer in answers), answers


def download(port):
    """How many bytes came until that was enough."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
        peer.sendall(b"GET /app/stream HTTP/1.1\r\nHost: h\r\n\r\n")
        came, room = 0, bytearray(1 << 20)
        while came < MIB << 20:
            size = peer.recv_into(room)
            assert size > 0
            came += size
        return came


def test_uploads_of_any_length_cost_no_memory(make):
    server = make(ONE_SITE + "limits.body_bytes = 1024g\nsite.main.route.app.prefix = /app\nsite.main.route.app.handler = pool\n"
                  f"site.main.route.app.pool = up\npool.up.runtime = external\npool.up.app = {UPLOAD}\npool.up.request_timeout = 0\n")
    uploads(server.port, 64)  # the input buffers that all streams share are in memory from here on
    with Watch(server.role("server")) as watch:
        uploads(server.port, MIB)
    assert watch.growth <= GROWTH_MAX, watch.growth
    print(f"\n{STREAMS} uploads of {MIB} MiB: the server grew by {watch.growth >> 10} KiB")


def test_downloads_of_any_length_cost_no_memory(make):
    server = make(config("request_timeout=0"))
    assert fetch(server.port, "/app/who").status == 200
    came = []
    with Watch(server.role("server")) as watch:
        threads = [threading.Thread(target=lambda: came.append(download(server.port))) for _ in range(STREAMS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(came) == STREAMS
    assert watch.growth <= GROWTH_MAX, watch.growth
    print(f"\n{STREAMS} downloads of {MIB} MiB: the server grew by {watch.growth >> 10} KiB")


def test_many_workers_run_side_by_side(make):
    server = make(config(f"workers_min={WORKERS};workers_max={WORKERS};concurrency=1"))
    before = resident(server.role("server"))
    wait_until(lambda: show(server)["pool"]["ready"] == WORKERS, seconds=120, what="all are ready")
    who = set()
    threads = [threading.Thread(target=lambda: who.add(fetch(server.port, "/app/slow").body)) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(who) > WORKERS // 2  # the requests overlapped, so that most of them found a worker of their own
    assert show(server)["pool"]["failures"] == 0
    print(f"\n{WORKERS} workers: the server has {resident(server.role('server')) - before >> 10} KiB more")
