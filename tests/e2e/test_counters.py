"""PT2: what a request costs is counted and exported, so that a cost that grows is seen by this test and by who runs it."""
import re

from instance import ONE_SITE

DEPTH, ROUNDS = 16, 40
# Of a request in a pipeline of 16 hot hits, by transport.
SYSCALLS_MOST = {"uring": 0.2, "epoll": 0.35}


def test_what_a_request_costs_is_counted(make, transport):
    body = "x" * 1000
    server = make(ONE_SITE + "server.reactors = 1\ncache.admit_hits = 1\n", files={"a.txt": body}, transport=transport)
    names = ("requests", "syscalls", "wakeups", "turns", "turns_busy", "sends", "bytes_copied", "bytes_out", "allocations", "cache_hits")

    def counted():
        return {name: server.counter(name) for name in names}
    with server.connect() as connection:
        def ask():
            connection.send("GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n" * DEPTH)
            for _ in range(DEPTH):
                assert connection.read_response().body == body.encode()
        for _ in range(3):
            ask()
        before = counted()
        for _ in range(ROUNDS):
            ask()
        after = counted()
    more = {name: after[name] - before[name] for name in names}
    requests = DEPTH * ROUNDS
    assert more["requests"] == requests == more["cache_hits"]
    assert 1 <= more["syscalls"] <= requests * SYSCALLS_MOST[transport], more
    assert 1 <= more["wakeups"] <= more["turns"] and 1 <= more["turns_busy"] <= more["turns"], more
    assert ROUNDS <= more["sends"] <= 2 * ROUNDS, more  # the answers of a turn go in one send
    assert more["bytes_copied"] == more["bytes_out"] > 1000 * requests, more  # small ones are copied behind each other, once
    assert more["allocations"] == 0, more

    text = server.cli("stats", "perf").stdout
    rows = {name: float(number) for name, number in re.findall(r"^([a-z][a-z -]*[a-z])\s+(\d+\.\d{4})\s", text, re.M)}
    assert set(rows) >= {"system calls", "wake-ups", "bytes copied", "sends", "allocations", "cache hits"}, text
    assert 0 < rows["system calls"] < 1 and 1000 < rows["bytes copied"] < 1500 and 0.9 < rows["cache hits"] <= 1, text
    assert re.search(r"\d+ requests; [\d.]+ requests a system call; [\d.]+ % of the turns did work", text), text
