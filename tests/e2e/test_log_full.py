"""Issue §8, LG5: a log whose disk is full or whose writer stands still slows no request, and what is lost is counted to the record."""
import json
import os
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
from conftest import needs_root
from http_client import wait_until
from instance import JSON_LOG, ONE_SITE


@pytest.fixture
def small_disk():
    place = Path(tempfile.mkdtemp(prefix="penstock-e2e-disk-"))
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=777", "tmpfs", str(place)], capture_output=True)
    if done.returncode != 0:
        pytest.skip("cannot mount here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)
    place.rmdir()


@needs_root
def test_a_full_disk_slows_no_request_and_is_counted(make, small_disk, transport):
    server = make(ONE_SITE + f"log.access.format = json\nlog.access.path = {small_disk}/access.log\n", files={"a.txt": "a"}, transport=transport)
    with server.connect() as connection:
        while server.status()["journal"]["dropped"] == 0:  # until the rings are full too
            for number in range(2000):
                assert connection.request(f"/a.txt?{number}").status == 200
    assert "No space left" in server.output()
    for line in (small_disk / "access.log").read_text().splitlines()[:-1]:
        json.loads(line)
    subprocess.run(["mount", "-o", "remount,size=256m", str(small_disk)], check=True)  # there is room again

    def goes_on():  # a record that comes before the rings are emptied is one more dropped
        server.fetch("/a.txt?again")
        return "again" in (small_disk / "access.log").read_text()
    wait_until(goes_on, what="the log goes on")


class FullDisk:
    """A server whose log disk is full, and what was asked of it: each request has a number, by which the log is searched."""

    def __init__(self, make, disk, on_full, **options):
        self.log = disk / "access.log"
        self.server = make(ONE_SITE + f"server.reactors = 1\nlog.access.format = json\nlog.access.path = {self.log}\nlog.access.on_full = {on_full}\n"
                           "log.access.fields = cs-uri-query sc-status sc-substatus\nlimits.query_bytes = 8k\n", files={"a.txt": "a"}, **options)
        self.disk = disk
        self.statuses = []
        # What asked whether it is there has no number, and must not be among what is lost.
        wait_until(lambda: self.log.is_file() and self.log.stat().st_size > 0 and self.journal()["bytes_waiting"] == 0, what="the first record")

    def ask(self, connection):
        """With so much of a query that a few thousand fill the rings."""
        answer = connection.request(f"/a.txt?{len(self.statuses)}-" + "x" * 6000)
        self.statuses.append(answer.status)
        return answer

    def journal(self):
        return self.server.status()["journal"]

    def make_room(self):
        subprocess.run(["mount", "-o", "remount,size=256m", str(self.disk)], check=True)
        wait_until(lambda: self.journal()["bytes_waiting"] == 0, seconds=15, what="the log is written again")

    def logged(self):
        """The numbers in the log, and how many records it says are missing."""
        records = [json.loads(line) for line in self.log.read_text().splitlines()]
        numbers = [int(r["query"].lstrip("?").split("-")[0]) for r in records if "xx" in r.get("query", "")]
        return numbers, sum(r["dropped"] for r in records if r.get("kind") == "gap")


@needs_root
def test_a_full_log_loses_the_newest_and_counts_them(make, small_disk):
    full = FullDisk(make, small_disk, "drop_newest")
    with full.server.connect() as connection:
        while full.journal()["dropped"] == 0:
            for _ in range(500):
                full.ask(connection)
        full.make_room()
        full.ask(connection)  # the log tells of a gap when it has something behind it
    wait_until(lambda: full.logged()[0][-1] == len(full.statuses) - 1, what="the last record")
    numbers, gaps = full.logged()
    dropped = full.journal()["dropped"]
    assert set(full.statuses) == {200} and dropped > 0
    assert numbers == [*range(len(full.statuses) - 1 - dropped), len(full.statuses) - 1] and gaps == dropped


@needs_root
def test_a_full_log_loses_the_oldest_and_counts_them(make, small_disk):
    full = FullDisk(make, small_disk, "drop_oldest")
    with full.server.connect() as connection:
        while full.journal()["dropped"] < 1000:
            for _ in range(500):
                full.ask(connection)
        full.make_room()
    numbers, gaps = full.logged()
    dropped = full.journal()["dropped"]
    assert set(full.statuses) == {200} and full.server.counter("journal_drops") == 0
    assert len(numbers) + dropped == len(full.statuses) and gaps == dropped
    newest = [n for n in numbers if n >= numbers[-1] - 300]
    assert newest == [*range(len(full.statuses) - 301, len(full.statuses))]


@needs_root
def test_a_full_log_refuses_requests_so_that_no_answer_goes_unlogged(make, small_disk, transport):
    full = FullDisk(make, small_disk, "refuse", transport=transport)
    with full.server.connect() as connection:
        while 503 not in full.statuses:
            answer = full.ask(connection)
        assert answer["Retry-After"] == "1"
        assert [full.ask(connection).status for _ in range(20)] == [503] * 20  # and the connection goes on
        assert full.server.counter("journal_refusals") == 21
        full.server.sysctl(log__access__on_full="drop_newest")  # live, both ways
        served = [full.ask(connection).status for _ in range(20)]
        full.server.sysctl(log__access__on_full="refuse")
        assert served == [200] * 20 and full.ask(connection).status == 503
        full.make_room()
        assert full.ask(connection).status == 200
    wait_until(lambda: full.logged()[0][-1] == len(full.statuses) - 1, what="the last record")
    numbers, gaps = full.logged()
    assert numbers == [n for n, status in enumerate(full.statuses) if status == 200]  # each of them, once
    assert gaps == full.journal()["dropped"] == full.statuses.count(503)


def test_a_logd_that_stands_still_slows_no_request(make, transport):
    server = make(ONE_SITE + JSON_LOG, files={"a.txt": "a"}, transport=transport)
    pid = server.role("logd")
    os.kill(pid, signal.SIGSTOP)
    try:
        with server.connect() as connection:
            for number in range(2000):
                assert connection.request(f"/a.txt?{number}").status == 200
    finally:
        os.kill(pid, signal.SIGCONT)
    server.wait_records(1)
