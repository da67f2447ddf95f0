"""VH7: a worker names a file, a kept answer or another URL, and the front end sends that; its bytes do not go through the rings."""
import random

import pytest
from http_client import Connection, wait_until
from instance import JSON_LOG, sub_statuses
from test_pools_life import config, fetch, resident, workers

EXECUTE_MAX = 5


@pytest.fixture
def server(make, transport):
    server = make(config("request_timeout=20s") + JSON_LOG + "cache.admit_hits = 1\n", files={"hello.txt": "hello, world\n"}, transport=transport)
    assert fetch(server.port, "/app/who").status == 200
    return server


def test_a_file_that_the_worker_cannot_even_read_is_sent_in_the_place_it_has(server):
    content = random.Random(1).randbytes(50_000_000)
    server.put("large.bin", content)
    pid = wait_until(lambda: workers(server), what="it is ready")[0]["pid"]
    before = resident(pid), resident(server.role("server"))
    with Connection(server.port, timeout=60) as connection:
        for _ in range(3):
            answer = connection.request("/app/file")
            assert answer.status == 200 and answer.body == b"[" + content[1000:40_001_000] + b"]"
    assert fetch(server.port, "/app/peek").body != b"0\n", "files outside of its own are denied to it"
    after = resident(pid), resident(server.role("server"))
    assert all(now - then < 8 << 20 for now, then in zip(after, before)), "nobody has it in memory"


def test_a_kept_answer_is_sent_without_a_file_being_opened(server):
    for _ in range(3):
        assert fetch(server.port, "/hello.txt").body == b"hello, world\n"
    before = server.counter("files_opened")
    assert [fetch(server.port, "/app/entry").body for _ in range(5)] == [b"[hello, world\n]"] * 5
    assert server.counter("files_opened") == before


def test_another_URL_answers_and_five_times_is_enough(server):
    def served():
        return sum(worker["served"] for worker in workers(server))
    assert fetch(server.port, "/app/execute?/hello.txt").body == b"hello, world\n"
    assert fetch(server.port, "/app/execute?/app/execute?/hello.txt").body == b"hello, world\n"
    assert fetch(server.port, "/app/execute?/none").status == 404
    before = wait_until(lambda: (lambda count: count if count == served() else None)(served()), every=0.6, what="the count rests")
    assert fetch(server.port, "/app/execute").status == 500
    wait_until(lambda: served() == before + 1 + EXECUTE_MAX, what="it was asked once, and five times more")
    told = server.settled_records()
    assert sub_statuses([record for record in told if record["path"] == "/app/execute" and not record.get("query")])[-1] == "500.33"


def test_an_answer_wakes_the_server_no_more_often_where_it_has_several_parts(server):
    """DY3: once for the request, once for the answer."""
    for _ in range(3):
        assert fetch(server.port, "/hello.txt").status == 200
    count = 200
    with Connection(server.port) as connection:
        for target in ("/app/who", "/app/entry"):
            before = server.counter("wakeups")
            for _ in range(count):
                assert connection.request(target).status == 200
            assert server.counter("wakeups") - before <= 2 * count + 20, target  # and pings, and who asks for the number
