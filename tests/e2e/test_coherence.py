"""Issue §7, SC6: what is served is what lies on the disk: never mixed, never cut, and soon the newest.

How soon is measured where nothing else runs (tests/coherence); here other tests have the processors too.
"""
import hashlib
import itertools
import os
import random
import threading
import time

import pytest
from http_client import Connection, wait_until
from instance import ONE_SITE, QUICK

SOON_S = 2.0
HOSTILE_S = 8 if QUICK else 15  # of each transport
SETTLED = time.time() - 3600


def version(number, size=None):
    """A body that carries its own checksum: any mixture or cut of two shows."""
    rng = random.Random(number)
    filler = rng.randbytes(size if size is not None else rng.choice([10, 1000, 4096, 70_000, 300_000])).hex().encode()
    content = b"%d:" % number + filler
    return hashlib.sha256(content).hexdigest().encode() + b":" + content


def number_of(body):
    """The number of a whole version; AssertionError for anything else."""
    checksum, _, content = body.partition(b":")
    assert hashlib.sha256(content).hexdigest().encode() == checksum, f"a mixed or cut answer of {len(body)} bytes: {body[:80]!r}"
    return int(content.partition(b":")[0])


@pytest.fixture
def server(make, transport):
    return make(ONE_SITE, transport=transport)


def warm(server, target="/f.bin", until=None):
    for _ in range(6):
        body = server.fetch(target).body
    return body


def soon_after(server, change, good, target="/f.bin"):
    """Makes the change and asks on one connection until the answer is good."""
    with server.connect() as connection:
        connection.request(target)
        change()
        wait_until(lambda: good(connection.request(target)), seconds=SOON_S, every=0.005, what="the change shows")


def is_version(number):
    return lambda response: number_of(response.body) == number


@pytest.mark.parametrize("round_", range(10))
def test_a_renamed_file_is_served(server, round_):
    os.utime(server.put("f.bin", version(1)), (SETTLED, SETTLED))
    warm(server)
    fresh = server.put("fresh", version(2))
    soon_after(server, lambda: fresh.rename(server.www / "f.bin"), is_version(2))


@pytest.mark.parametrize("round_", range(5))
@pytest.mark.parametrize("same_size", [True, False])
def test_a_file_written_in_place_is_served(server, round_, same_size):
    os.utime(server.put("f.bin", version(1, 2000)), (SETTLED, SETTLED))
    warm(server)

    def write():
        with open(server.www / "f.bin", "r+b") as file:
            file.write(version(2, 2000 if same_size else 3000))

    def good(response):  # a write is not atomic: both halves may be served while it is under way, nothing else
        return response.body == version(2, 2000 if same_size else 3000)
    soon_after(server, write, good)


def test_a_truncated_file_is_never_padded_or_cut(server):
    os.utime(server.put("f.bin", version(1, 50_000)), (SETTLED, SETTLED))
    warm(server)

    def good(response):
        assert response.status == 200 and response.body in (b"", version(1, 50_000))
        return response.body == b""
    soon_after(server, lambda: os.truncate(server.www / "f.bin", 0), good)


def test_an_appended_file(server):
    os.utime(server.put("f.bin", b"one"), (SETTLED, SETTLED))
    warm(server)

    def append():
        with open(server.www / "f.bin", "ab") as file:
            file.write(b"two")
    soon_after(server, append, lambda response: response.body == b"onetwo")


@pytest.mark.parametrize("what", ["unlink", "chmod", "rename away", "folder away", "folder chmod"])
def test_what_is_no_longer_allowed_is_no_longer_served(make, transport, what):
    server = make(ONE_SITE, transport=transport)
    path = server.put("d/e/f.bin", version(1))
    os.utime(path, (SETTLED, SETTLED))
    warm(server, "/d/e/f.bin")

    def change():
        if what == "unlink":
            path.unlink()
        elif what == "chmod":
            path.chmod(0)
        elif what == "rename away":
            path.rename(server.www / "elsewhere")
        elif what == "folder away":
            (server.www / "d").rename(server.www / "away")
        else:
            (server.www / "d").chmod(0)
    try:
        soon_after(server, change, lambda response: response.status in (403, 404), "/d/e/f.bin")
    finally:
        if (server.www / "d").exists():
            (server.www / "d").chmod(0o755)


def test_what_becomes_allowed_is_served(server):
    path = server.put("f.bin", version(1))
    path.chmod(0)
    for _ in range(5):
        assert server.fetch("/f.bin").status == 403
    path.chmod(0o644)
    wait_until(lambda: server.fetch("/f.bin").status == 200)
    assert server.fetch("/new.bin").status == 404
    server.put("new.bin", version(3))
    wait_until(lambda: server.fetch("/new.bin").status == 200)


def test_a_link_that_is_turned(server):
    for number in (1, 2):
        server.put(f"releases/{number}/f.bin", version(number))
    (server.www / "current").symlink_to("releases/1")
    warm(server, "/current/f.bin")

    def turn():
        (server.www / "next").symlink_to("releases/2")
        (server.www / "next").rename(server.www / "current")
    soon_after(server, turn, is_version(2), "/current/f.bin")


def test_an_index_that_appears_and_goes(server):
    server.put("d/second.html", "x")
    server.put("d/index.htm", "htm")
    for _ in range(5):
        assert server.fetch("/d/").body == b"htm"
    server.put("d/index.html", "html")
    wait_until(lambda: server.fetch("/d/").body == b"html")
    (server.www / "d/index.html").unlink()
    wait_until(lambda: server.fetch("/d/").body == b"htm")


def rewrite(path, body, how, scratch):
    """One way in which files change on real sites."""
    if how == "rename":
        scratch.write_bytes(body)
        scratch.rename(path)
    elif how == "truncate and write":  # what a shell's > does
        with open(path, "wb") as file:
            for start in range(0, len(body), 50_000):
                file.write(body[start:start + 50_000])
                file.flush()
    elif how == "in place":
        with open(path, "r+b") as file:
            file.write(body)
            file.truncate()
    elif how == "hard link":
        scratch.write_bytes(body)
        path.unlink(missing_ok=True)
        os.link(scratch, path)
        scratch.unlink()
    elif how == "chmod":
        path.chmod(0)
        path.chmod(0o644)


def test_a_hostile_writer_never_shows(make, transport):
    """Readers check the checksum in every body while the file is replaced, rewritten, cut, linked and locked under them.

    A rewrite in place is not atomic, so while one is under way a reader may see the file as it lies on the disk; only
    then. After each rewrite, and for all atomic ones throughout, what is served is whole, and soon the newest.
    """
    server = make(ONE_SITE + "cache.admit = always\n", transport=transport)
    atomic, inplace = server.www / "atomic.bin", server.www / "inplace.bin"
    for path in (atomic, inplace):
        path.write_bytes(version(0))
    deadline = time.monotonic() + HOSTILE_S
    latest, failures, checked = [(0.0, 0)], [], [0]

    def write_atomic():
        for number in itertools.count(1):
            if time.monotonic() > deadline:
                return
            rewrite(atomic, version(number), "rename", server.dir / "scratch")
            latest.append((time.monotonic(), number))
            time.sleep(random.random() * 0.02)

    def read_atomic():
        try:
            with Connection(server.port) as connection:
                while time.monotonic() < deadline:
                    asked = time.monotonic()
                    number = number_of(connection.request("/atomic.bin").body)
                    must = next(n for when, n in reversed(latest) if when <= asked - SOON_S)
                    assert number >= must, f"version {number} served when {must} had been there for {SOON_S} s"
                    checked[0] += 1
        except AssertionError as error:
            failures.append(error)

    def write_and_read_in_place():
        """One thread: rewrites, then reads until it sees what it wrote, and from then on nothing else."""
        ways = itertools.cycle(["truncate and write", "in place", "hard link", "chmod", "in place", "rename"])
        number = 0
        try:
            with Connection(server.port) as connection:
                while time.monotonic() < deadline:
                    how = next(ways)
                    if how != "chmod":
                        number += 1
                    rewrite(inplace, version(number), how, server.dir / "scratch2")
                    expected = version(number)
                    wait_until(lambda: connection.request("/inplace.bin").body == expected, seconds=SOON_S, every=0.005, what=f"after {how}")
                    for _ in range(3):
                        assert connection.request("/inplace.bin").body == expected, f"after {how}"
                        checked[0] += 1
        except AssertionError as error:
            failures.append(error)

    def disturb():
        """Others who read the same file while it is rewritten, so that it is in the cache at the worst moment."""
        with Connection(server.port) as connection:
            while time.monotonic() < deadline:
                connection.request("/inplace.bin")

    threads = [threading.Thread(target=f) for f in (write_atomic, read_atomic, read_atomic, write_and_read_in_place, disturb)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures[0]
    assert checked[0] > 100


def test_a_large_file_replaced_while_it_is_sent_is_one_version(server):
    """Streamed from the file that was opened: a rename meanwhile does not touch it."""
    old, new = version(1, 8_000_000), version(2, 8_000_000)
    server.put("f.bin", old)
    with server.connect() as connection:
        connection.send("GET /f.bin HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.fill()
        server.put("fresh", new).rename(server.www / "f.bin")
        assert number_of(connection.read_response().body) == 1
        assert number_of(connection.request("/f.bin").body) == 2


def test_a_file_cut_while_it_is_sent_ends_the_connection(server):
    """The promised length cannot be kept: the client must see that, so the answer is not completed by anything else."""
    server.put("f.bin", os.urandom(24 << 20))
    with server.connect() as connection:
        connection.send("GET /f.bin HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.fill()
        os.truncate(server.www / "f.bin", 1000)
        received = len(connection.buffer)
        connection.sock.settimeout(5)
        try:
            while part := connection.sock.recv(1 << 20):
                received += len(part)
        except ConnectionResetError:
            pass
        assert received < 24 << 20
    assert server.fetch("/f.bin").status == 200
