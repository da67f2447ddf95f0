"""Issue 3 §2: the queue before a pool: its bound, its fairness, who is dropped from it and who is served first after a stall, and which
worker takes a request.

PENSTOCK_STALL_S=30 for the stall of DY21, PENSTOCK_HOG=1000 for the hog of QS10, PENSTOCK_TEST_LONG=1 for the rate of DY6."""
import asyncio
import os
import selectors
import signal
import socket
import threading
import time
from statistics import median

import pytest
from conftest import needs_root
from demo import FEATURES
from http_client import Connection, wait_until
from instance import JSON_LOG, sub_statuses
from test_pools_life import Load, config, pid_of, requests, show, workers

STALL_S = float(os.environ.get("PENSTOCK_STALL_S", 4))
HOG = int(os.environ.get("PENSTOCK_HOG", 200))
ASK = b"GET /app/who HTTP/1.1\r\nHost: h\r\n\r\n"
NO_PINGS = "ping_interval=0;request_timeout=0;queue_timeout=0;"


def ask(server, count, target="/app/who"):
    """So many connections, each with a request."""
    made = [Connection(server.port, timeout=30) for _ in range(count)]
    for connection in made:
        connection.send(f"GET {target} HTTP/1.1\r\nHost: h\r\n\r\n")
    return made


def waiting(server):
    """How many requests no worker has."""
    return sum(r["worker"] == 0 for r in requests(server))


@needs_root
@pytest.mark.alone
def test_one_more_than_a_thousand_that_wait_is_503_at_once_and_the_thousand_are_served(make):
    """DY6."""
    server = make(config(NO_PINGS + "concurrency=1"))
    pid = pid_of(server)
    os.kill(pid, signal.SIGSTOP)
    asked = ask(server, 1001)  # one is inside
    wait_until(lambda: waiting(server) == 1000, what="the queue is full")
    wait_until(lambda: show(server)["pool"]["waiting"] == 1000, what="the pool tells how many wait")
    spans = []
    with Connection(server.port) as connection:
        for _ in range(20):
            began = time.monotonic()
            assert connection.request("/app/who").status == 503
            spans.append(time.monotonic() - began)
    os.kill(pid, signal.SIGCONT)
    assert {connection.read_response().status for connection in asked} == {200}
    for connection in asked:
        connection.close()
    assert median(spans) <= 0.001, spans
    wait_until(lambda: show(server)["pool"]["waiting"] == 0, what="and that none does")


def test_a_worker_has_as_many_requests_inside_as_the_pool_says_and_answers_them_in_any_order(make):
    """DY5: the most that may be; the application answers the latest first."""
    server = make(config("concurrency=1024;request_timeout=0"))
    pid_of(server)
    held = ask(server, 1024, "/app/hold")
    wait_until(lambda: workers(server)[0]["inside"] == 1024, what="all are inside of the one worker")
    more = ask(server, 1)[0]
    wait_until(lambda: waiting(server) == 1, what="and there is no room for another one")
    server.cli("pool", "recycle", "life")  # whoever is asked to leave answers what it holds
    first, *others = [connection.read_response() for connection in held]
    assert {answer.status for answer in others} <= {200} and {answer.body for answer in others} <= {first.body}
    assert first.status == 200 and more.read_response().body != first.body, "the next worker had that"
    for connection in [*held, more]:
        connection.close()


@needs_root
def test_workers_that_are_killed_under_load_lose_no_request(make):
    """DY6: what they had inside is asked again of the next one, what waits waits."""
    server = make(config("workers_max=2;workers_min=2;rapid_fail.enable=0"))
    began, killed = time.monotonic(), set()
    with Load(server, threads=8) as load:
        for _ in range(10):
            server.cli("pool", "start", "life")  # a clean record: no pause before the next start
            wait_until(lambda: len({worker["pid"] for worker in workers(server)} - killed) == 2, what="both are ready")
            done = load.done
            wait_until(lambda: load.done > done + 20, what="they serve")
            pid = workers(server)[0]["pid"]
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
    assert load.failed == []
    if "PENSTOCK_TEST_LONG" in os.environ:  # on a machine that has nothing else to do
        assert load.done >= 1000 * (time.monotonic() - began), load.done


@needs_root
def test_each_way_not_to_be_served_has_a_sub_status_of_its_own(make):
    server = make(config("concurrency=1;queue_max=1;queue_timeout=1s;request_timeout=0;ping_interval=0;rapid_fail.crashes=2;rapid_fail.probe=0") + JSON_LOG)

    def status(target, method="GET"):
        with Connection(server.port, timeout=20) as connection:
            return connection.request(target, method=method, fields=["Content-Length: 0"]).status

    assert status("/app/crash", "POST") == 502
    server.cli("sysctl", "-w", "pool.life.request_timeout=300ms")
    assert status("/app/sleep") == 502
    server.cli("sysctl", "-w", "pool.life.request_timeout=0")
    pid = pid_of(server)
    os.kill(pid, signal.SIGSTOP)
    stuck = ask(server, 1, "/app/stuck")
    wait_until(lambda: "/app/stuck" in [r["target"] for r in requests(server) if r["worker"]], what="it is inside")
    waits = ask(server, 1, "/app/waits")
    wait_until(lambda: waiting(server) == 1, what="one waits")
    assert status("/app/full") == 503
    assert waits[0].read_response().status == 503
    os.kill(pid, signal.SIGCONT)
    assert stuck[0].read_response().status == 200
    for connection in stuck + waits:
        connection.close()
    server.cli("pool", "stop", "life")
    assert status("/app/stopped") == 503
    server.cli("pool", "start", "life")
    assert [status("/app/exit3", "POST") for _ in range(2)] == [502, 502]
    wait_until(lambda: status("/app/failed") == 503, what="out of service")
    told = server.settled_records()
    records = {record["path"]: status for record, status in zip(told, sub_statuses(told)) if record["path"] != "/app/who"}
    assert records == {"/app/crash": "502.2", "/app/sleep": "502.1", "/app/full": "503.3", "/app/waits": "503.1", "/app/stuck": "200.0",
                       "/app/stopped": "503.0", "/app/exit3": "502.2", "/app/failed": "503.13"}


@needs_root
@pytest.mark.skipif(not FEATURES["http/2"]["available"], reason="this build does not speak HTTP/2")
def test_a_full_queue_resets_who_comes_where_the_pool_says_so(make):
    """DY6: over HTTP/2 its stream alone, as one that may be asked again: RFC 9113 section 8.7."""
    h2 = pytest.importorskip("h2_client")
    server = make(config(NO_PINGS + "concurrency=1;queue_max=1;queue_full=reset") + "http2.cleartext = 1\n" + JSON_LOG.rstrip() + " x-flags\n", files={"a.txt": "a"})
    pid = pid_of(server)
    os.kill(pid, signal.SIGSTOP)
    held = ask(server, 2)  # one is inside
    wait_until(lambda: waiting(server) == 1, what="the queue is full")
    with Connection(server.port) as one, h2.H2Client(server.port) as two:
        one.send("GET /a.txt HTTP/1.1\r\nHost: h\r\n\r\nGET /app/one HTTP/1.1\r\nHost: h\r\n\r\n")
        assert one.read_response().status == 200, "what was answered before is seen"
        with pytest.raises(ConnectionResetError):
            one.read_response()
        refused = two.get("/app/two")
        assert (refused.reset, refused.heads) == (h2.REFUSED_STREAM, [])
        assert two.get("/a.txt").status == 200, "its connection goes on"
        server.cli("sysctl", "-w", "pool.life.queue_full=503")
        assert two.get("/app/three").status == 503
    os.kill(pid, signal.SIGCONT)
    assert {connection.read_response().status for connection in held} == {200}
    for connection in held:
        connection.close()
    told = {record["path"]: (record["reason"], record["bytes_out"], "C" in record["flags"]) for record in server.settled_records()}
    assert [told[f"/app/{name}"][::2] for name in ("one", "two", "three")] == [("QueueFull", True), ("QueueFull", True), ("QueueFull", False)]
    assert told["/app/one"][1] == told["/app/two"][1] == 0


@needs_root
@pytest.mark.skipif(not FEATURES["http/2"]["available"], reason="this build does not speak HTTP/2")
def test_a_stream_that_its_client_resets_leaves_the_queue_and_reaches_no_worker(make):
    """DY21, without an end of its connection."""
    h2 = pytest.importorskip("h2_client")
    server = make(config(NO_PINGS + "concurrency=1;queue_max=2") + "http2.cleartext = 1\n")
    pid = pid_of(server)
    wait_until(lambda: workers(server)[0]["served"] == 1, what="its work is known")
    os.kill(pid, signal.SIGSTOP)
    with h2.H2Client(server.port) as client:
        streams = [client.request("/app/who") for _ in range(3)]
        wait_until(lambda: waiting(server) == 2, what="one is inside, two wait")
        client.send(b"".join(h2.frame(h2.RST_STREAM, 0, stream, h2.CANCEL.to_bytes(4, "big")) for stream in streams[:2]))
        wait_until(lambda: waiting(server) == 1, what="one has left")
        last = client.request("/app/who")
        wait_until(lambda: waiting(server) == 2, what="there is room for another one")
        os.kill(pid, signal.SIGCONT)
        assert client.wait(streams[2], last).status == 200
    wait_until(lambda: workers(server)[0]["served"] >= 4, what="the worker had all but the one that waited")
    assert workers(server)[0]["served"] == 4


async def come_and_go(port, until, patience, every, seen):
    """One client each `every`, who leaves when `patience` is over. `seen`: (came, went, served)."""
    async def one():
        came, writer = time.monotonic(), None
        try:
            async with asyncio.timeout(patience):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(ASK)
                head = await reader.readuntil(b"\r\n\r\n")
                seen.append((came, time.monotonic(), head.startswith(b"HTTP/1.1 200")))
        except TimeoutError:
            seen.append((came, time.monotonic(), False))
        finally:
            if writer:
                writer.transport.abort()

    clients, due = set(), time.monotonic()
    while time.monotonic() < until:
        due += every
        await asyncio.sleep(max(due - time.monotonic(), 0))
        client = asyncio.create_task(one())
        clients.add(client)
        client.add_done_callback(clients.discard)
    await asyncio.gather(*clients)


@needs_root
@pytest.mark.alone
def test_after_a_stall_those_who_still_wait_are_served_and_nobody_else(make):
    """DY21: 500 requests a second, whose clients wait two seconds, of a worker that stands still."""
    server = make(config(NO_PINGS + "queue_max=10000"))
    pid, seen = pid_of(server), []
    before_s, after_s = 2, 3
    start = time.monotonic()
    load = threading.Thread(target=lambda: asyncio.run(come_and_go(server.port, start + before_s + STALL_S + after_s, 2, 0.002, seen)))
    load.start()
    time.sleep(before_s)
    os.kill(pid, signal.SIGSTOP)
    time.sleep(STALL_S)
    resuming = time.monotonic()
    os.kill(pid, signal.SIGCONT)
    resumed = time.monotonic()
    load.join()
    served = [(came, went) for came, went, ok in seen if ok]
    gone = len(seen) - len(served)
    assert gone > 100 * (STALL_S - 2), "clients have left meanwhile"
    assert min(went for _, went in served if went > resumed) - resumed <= 0.05
    late = sorted(went - came for came, went in served if came > resumed + 1)
    calm = sorted(went - came for came, went in served if went < start + before_s)
    assert late[len(late) * 99 // 100] <= max(0.05, 2 * calm[len(calm) * 99 // 100]), "all is as before within a second"
    # Of those who have gone the worker had no more than what was inside of it when it stopped, and who left as it came to
    # them: their own word is a little before their leave.
    wait_until(lambda: workers(server)[0]["inside"] == 0 and workers(server)[0]["served"] > len(served), what="all is answered, and told of")
    met = sum(resuming - 0.02 <= went <= resumed + 0.05 for _, went, ok in seen if not ok)
    print(f"\n{len(seen)} came, {gone} left, {workers(server)[0]['served']} reached the worker, {len(served)} were answered, {met} left as it went on")
    assert workers(server)[0]["served"] - len(served) <= 16 + 1 + met, met


class Hog:
    """Connections of one client that all ask, again and again."""

    def __init__(self, port, count):
        self.over = threading.Event()
        self.peers = selectors.DefaultSelector()
        for _ in range(count):
            peer = socket.create_connection(("127.0.0.1", port), source_address=("127.0.0.9", 0))
            peer.setblocking(False)
            peer.send(b"GET /app/echo HTTP/1.1\r\nHost: h\r\n\r\n")
            self.peers.register(peer, selectors.EVENT_READ)
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def work(self):
        while not self.over.is_set():
            for key, _ in self.peers.select(0.1):
                if key.fileobj.recv(1 << 16):
                    key.fileobj.send(b"GET /app/echo HTTP/1.1\r\nHost: h\r\n\r\n")

    def end(self):
        self.over.set()
        self.thread.join()
        for key in list(self.peers.get_map().values()):
            key.fileobj.close()


def polite(port, clients=10, rounds=10):
    """The spans of clients that ask one after the other: all but the first, when they come together."""
    spans = []

    def visit(number):
        with Connection(port, timeout=60, source=f"127.0.1.{number}") as connection:
            for turn in range(rounds + 1):
                began = time.monotonic()
                assert connection.request("/app/echo").status == 200
                if turn:
                    spans.append(time.monotonic() - began)
    threads = [threading.Thread(target=visit, args=(number,)) for number in range(1, clients + 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(spans) == clients * rounds
    return sorted(spans)


@pytest.mark.alone
@pytest.mark.parametrize("reactors", [1, 2])
def test_who_asks_for_much_at_once_keeps_the_others_waiting_no_longer(make, reactors):
    """QS10: a worker that takes 20 ms for each; FIFO would have the others wait for all that the hog has in the queue."""
    server = make(config("concurrency=1;queue_max=10000") + f"server.reactors = {reactors}\n")
    pid_of(server)
    turn, alone = median(polite(server.port, clients=1)), polite(server.port)
    p99 = len(alone) * 99 // 100
    hog = Hog(server.port, HOG)
    try:
        wait_until(lambda: waiting(server) >= HOG - 2, what="the hog waits")
        beside = polite(server.port)
    finally:
        hog.end()
    # Reactors take turns, and the clients of one do. How many came to which is chance: at the worst all ten, and the hog, to the same,
    # while part of the hog keeps the other at its turns.
    assert alone[p99] <= 1.25 * 10 * reactors * turn, (alone[p99], turn)
    assert beside[p99] <= 1.25 * 11 * reactors * turn, (beside[p99], turn)
    if reactors == 1:
        assert beside[p99] <= 1.5 * alone[p99], (beside[p99], alone[p99])


@pytest.mark.parametrize("balance, inside", [("round-robin", [0, 3]), ("least-loaded", [1, 2])])
def test_requests_are_dealt_out_as_the_pool_says(make, balance, inside):
    """DY14: every second request stays inside of its worker, the others are answered at once."""
    server = make(config(f"workers_min=2;workers_max=2;concurrency=8;balance={balance}") + "server.reactors = 1\nserver.drain_timeout = 1s\n")  # each reactor has turns of its own
    wait_until(lambda: len(workers(server)) == 2, what="both are ready")
    with Connection(server.port) as asks:
        held = []
        for number in range(1, 4):
            held.append(Connection(server.port))
            held[-1].send("GET /app/hold HTTP/1.1\r\nHost: h\r\n\r\n")
            wait_until(lambda: sum(w["inside"] for w in workers(server)) == number, what="it is inside")
            assert asks.request("/app/who").status == 200
        assert sorted(w["inside"] for w in workers(server)) == inside
    for connection in held:
        connection.close()


def test_a_cookie_brings_a_client_to_its_worker(make):
    server = make(config("workers_min=3;workers_max=3;balance=sticky"))
    wait_until(lambda: len(workers(server)) == 3, what="three are ready")
    with Connection(server.port) as connection:
        first = connection.request("/app/who")
        cookie = f"Cookie: other=1; {first['set-cookie'].partition(';')[0]}"
        again = [connection.request("/app/who", fields=[cookie]) for _ in range(12)]
        assert {answer.body for answer in again} == {first.body} and not any(answer.all("set-cookie") for answer in again)
        assert len({connection.request("/app/who").body for _ in range(12)}) > 1, "who has none goes to any"


@needs_root
def test_workers_run_on_the_cores_of_their_pool(make):
    """DY14."""
    server = make(config("cpus=1"))
    status = open(f"/proc/{pid_of(server)}/status").read()
    assert "Cpus_allowed_list:\t1\n" in status
    server.cli("sysctl", "-w", "pool.life.cpus=")
    wait_until(lambda: "Cpus_allowed_list:\t1\n" not in open(f"/proc/{pid_of(server)}/status").read(), what="any core")
