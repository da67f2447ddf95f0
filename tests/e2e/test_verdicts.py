"""SC5: every verdict of cache/verdict.def is one that a request can have, and the log tells it. What these tests do not produce, those named in ELSEWHERE do."""
import gzip
import re
import socket
import time
from collections import Counter
from pathlib import Path

import pytest
from http_client import Closed, wait_until
from instance import JSON_LOG
from test_cache_apps import FEATURES, wsgi_at_app

TREE = Path(__file__).resolve().parents[2]
TABLE = re.findall(r'^X\((\w+), "([^"]+)"', (TREE / "cache/verdict.def").read_text(), re.M)
ELSEWHERE = {
    "unwatchable": "tests/unit/files/loader_test.cc", "purged": "tests/unit/cache/purge_test.cc",  # in the moment before the sweep
    "expired": "tests/e2e/test_cache_apps.py", "worker-forbids": "tests/e2e/test_cache_apps.py", "varies": "tests/e2e/test_cache_apps.py",
    "invalidated": "tests/e2e/test_cache_apps.py", "refreshed": "tests/e2e/test_cache_apps.py", "hit-stale": "tests/e2e/test_cache_apps.py",
    "hit-stale-error": "tests/e2e/test_cache_apps.py", "purge": "tests/e2e/test_cache.py", "filtered": "tests/e2e/test_filters.py"}
BASE = JSON_LOG + "server.reactors = 1\nsite.main.hosts = 127.0.0.1\nsite.main.root = {WWW}\n"
STATIC = BASE + ("cache.entry_max = 1m\nsite.main.route.gone.prefix = /gone\nsite.main.route.gone.handler = status\nsite.main.route.gone.status = 410\n"
                 "site.main.route.list.prefix = /list\nsite.main.route.list.listing = 1\n")
SIMPLE = [  # what comes of it, target, how
    ("miss-first", "/a.txt", {}), ("fill-led", "/a.txt", {}), ("hit", "/a.txt", {}), ("hit-304", "/a.txt", dict(fields=["If-None-Match: *"])),
    ("hit-206", "/a.txt", dict(fields=["Range: bytes=1-2"])), ("hit-416", "/a.txt", dict(fields=["Range: bytes=9000-"])),
    ("hit-412", "/a.txt", dict(fields=['If-Match: "x"'])), ("hit-head", "/a.txt", dict(method="HEAD")),
    ("hit-variant", "/a.txt", dict(fields=["Accept-Encoding: gzip"])), ("condition-unusual", "/other.bin", dict(fields=["Accept-Encoding: *;q=0"])),
    ("method", "/a.txt", dict(method="POST")), ("has-body", "/a.txt", dict(fields=["Content-Length: 99999999999"])), ("bad-request", "/%zz", {}),
    ("no-site", "/a.txt", dict(host="nobody.example")), ("listing", "/list/", {}), ("error", "/none", {}), ("redirect", "/list", {}), ("not-static", "/gone", {}),
    ("streamed", "/big.bin", {}), ("too-large", "/huge.bin", {})]
FILES = {"a.txt": b"a" * 2000, "a.txt.gz": gzip.compress(b"a" * 2000), "b.txt": b"b", "c.txt": b"c", "s.txt": b"s", "t.txt": b"t", "w.txt": b"w", "list/x": b"x",
         "big.bin": b"x" * 200_000, "other.bin": b"x" * 200_000, "huge.bin": b"x" * 2_000_000}
APP = '''
TAGS = ", ".join(f"t{n}" for n in range(40))
ANSWERS = {"silent": [], "private": [("Cache-Control", "no-store")], "cookie": [("Cache-Control", "max-age=60"), ("Set-Cookie", "a=b")],
           "star": [("Cache-Control", "max-age=60"), ("Vary", "*")], "agent": [("Cache-Control", "max-age=60"), ("Vary", "User-Agent")],
           "coded": [("Cache-Control", "max-age=60"), ("Content-Encoding", "gzip")], "tags": [("Cache-Control", "max-age=60"), ("Cache-Tag", TAGS)]}

def application(environ, start_response):
    name = environ["PATH_INFO"].rsplit("/", 1)[-1]
    fields = ANSWERS.get(name, [("Cache-Control", "max-age=60")])
    start_response("500 Oh" if name == "failing" else "200 OK", fields + [("Content-Length", "2000")])
    yield b"x" * 1000
    if name == "broken":
        raise RuntimeError("half of it")
    yield b"x" * 1000
'''
APPS = [("no-lifetime", "silent", []), ("cache-control", "private", []), ("set-cookie", "cookie", []), ("vary-star", "star", []), ("vary-unkeyed", "agent", []),
        ("encoded", "coded", []), ("tag-limit", "tags", []), ("status", "failing", []), ("authorization", "one", ["Authorization: Basic eDp5"]),
        ("cookie", "one", ["Cookie: a=b"]), ("unkeyed-input", "one", ["X-Forwarded-Host: x"]), ("fill-failed", "broken", [])]
SPECIAL = ["miss-infrequent", "admit-never", "disabled", "fill-waited", "stale-file", "stale-config", "file-changing", "cache-full", "fill-busy"]


def test_the_table_has_no_verdict_that_nothing_shows():
    shown = {verdict for verdict, *_ in SIMPLE + APPS} | set(SPECIAL)
    assert shown | set(ELSEWHERE) == {code for _, code in TABLE} and not shown & set(ELSEWHERE)
    for name, code in TABLE:
        if code in ELSEWHERE:
            text = (TREE / ELSEWHERE[code]).read_text()
            assert f'"{code}"' in text or f"Verdict::{name}" in text, code


def start(server):
    for name, body in FILES.items():
        server.put(name, body)
    server.start()
    time.sleep(0.05)  # older than cache.settle
    return server


def test_what_files_and_refusals_come_to(make):
    server = start(make(STATIC, start=False))
    for _, target, how in SIMPLE:
        server.fetch(target, **how)
    assert [record["cache"] for record in server.wait_records(len(SIMPLE))] == [verdict for verdict, *_ in SIMPLE]


def test_what_settings_and_changes_come_to(make):
    server = start(make(STATIC + "cache.admit = always\ncache.write_hold = 400ms\n", start=False))
    wanted = []

    def ask(target, verdict):
        wanted.append(verdict)
        server.fetch(target)
    for name in "stw":
        ask(f"/{name}.txt", "fill-led")
    server.sysctl(cache__admit="never")
    ask("/b.txt", "admit-never")
    server.put("s.txt", b"another")
    time.sleep(0.1)  # SC6: it may be some milliseconds until a rename is seen
    ask("/s.txt", "stale-file")
    server.sysctl(site__main__cache_control="no-cache")
    ask("/t.txt", "stale-config")
    server.sysctl(cache__admit="frequent", cache__admit_hits=3)
    ask("/c.txt", "miss-first")
    ask("/c.txt", "miss-infrequent")
    server.sysctl(cache__enable=0)
    ask("/c.txt", "disabled")
    server.sysctl(cache__enable=1, cache__admit="always")
    ask("/w.txt", "fill-led")  # watched from now on
    with open(server.www / "w.txt", "wb") as writer:
        writer.write(b"half")
        writer.flush()
        ask("/w.txt", "file-changing")
    assert [record["cache"] for record in server.wait_records(len(wanted))] == wanted


def test_who_waits_for_a_fill_and_who_finds_no_room_for_one(make):
    """A new and empty file is waited for: most likely somebody is about to write it."""
    many = 1024  # loads of one reactor
    server = make(STATIC + "cache.admit = always\ncache.write_hold = 4s\ncache.settle = 4s\n", start=False)
    for number in range(many + 1):
        server.put(f"e/{number}", b"")
    server.start()
    connections = []
    for number in [0, *range(many)]:  # the first of them twice
        connections.append(server.connect())
        connections[-1].send(f"GET /e/{number} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    wait_until(lambda: server.counter("requests_open") == many + 1, what="all are waited for")
    assert server.fetch(f"/e/{many}").status == 503
    for connection in connections:
        assert connection.read_response().body == b""
        connection.close()
    assert Counter(record["cache"] for record in server.wait_records(many + 2)) == {"fill-led": many, "fill-waited": 1, "fill-busy": 1}


def test_what_finds_no_memory_is_streamed(make):
    """What slow readers have in flight is bounded as well: by as much as eight of the largest entries."""
    server = make(STATIC.replace("entry_max = 1m", "entry_max = 8m") + "cache.size = 8m\ncache.admit = never\ncache.sendfile_min = 16m\n", files={"slow.bin": b"x" * 8_000_000})
    slow = [server.connect() for _ in range(8)]
    for number, connection in enumerate(slow):
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        connection.send(f"GET /slow.bin?{number} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        connection.fill()
    assert len(server.fetch("/slow.bin").body) == 8_000_000
    assert [record["cache"] for record in server.wait_records(1)] == ["cache-full"]
    for connection in slow:
        connection.close()


@pytest.mark.skipif(not FEATURES["wsgi"]["available"], reason="wsgi is not in this build")
def test_what_answers_of_applications_come_to(make):
    server = wsgi_at_app(make, BASE, APP)
    for _, name, fields in APPS:
        try:
            server.fetch(f"/app/{name}", fields=fields)
        except (Closed, ConnectionResetError):
            assert name == "broken"
    assert [record["cache"] for record in server.wait_records(len(APPS))] == [verdict for verdict, *_ in APPS]
