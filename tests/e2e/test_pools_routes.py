"""VH4 and VH8: a route leads to another pool from one request to the next, and refusals have the site's page also when no worker lives.

PENSTOCK_TEST_LONG=1 for the move under ten thousand requests a second, which takes a release build."""
import os
import re
import subprocess
import time
from statistics import median

import pytest
from conftest import needs
from http_client import wait_until
from test_pools_life import LIFE, Load, alive, config, fetch, pid_of, who_answers

OTHER = f"pool.other.runtime = external\npool.other.app = {LIFE}\n"


def test_a_route_moves_to_another_pool_under_load_and_no_request_fails(make):
    server = make(config() + OTHER)
    first = who_answers(server)
    with Load(server) as load:
        wait_until(lambda: load.done > 10, what="the load is on")
        server.cli("sysctl", "-w", "site.main.route.app.pool=other")
        wait_until(lambda: who_answers(server) != first, what="the other pool answers")
        server.cli("sysctl", "-w", "site.main.route.app.pool=life")
    assert load.failed == []
    assert who_answers(server) == first


@pytest.mark.alone
def test_a_route_that_moved_is_answered_by_the_other_pool_within_50_ms(make):
    """VH4: counted from the return of the command that moves it; the connections and the socket that listens stay."""
    server = make(config() + OTHER + "pool.other.workers_min = 1\n")
    first, spans = who_answers(server), []
    with server.connect() as kept, Load(server) as load:
        assert kept.request("/app/who").status == 200
        sockets = server.status()["listeners"]
        for pool in ["other", "life"] * 3:
            server.cli("sysctl", "-w", f"site.main.route.app.pool={pool}")
            began = time.monotonic()
            while (int(kept.request("/app/who").body) == first) != (pool == "life"):
                pass
            spans.append(time.monotonic() - began)
    assert load.failed == [] and load.done > 0
    assert server.status()["listeners"] == sockets
    assert median(spans) <= 0.05, spans


@needs("wrk")
@pytest.mark.alone
@pytest.mark.skipif("PENSTOCK_TEST_LONG" not in os.environ, reason="a long run: PENSTOCK_TEST_LONG=1")
def test_a_route_moves_under_ten_thousand_requests_a_second_and_none_fails(make):
    """VH4."""
    server = make(config() + OTHER + "pool.other.workers_min = 1\n")
    who_answers(server)
    with subprocess.Popen(["wrk", "-t1", "-c64", "-d5s", f"http://127.0.0.1:{server.port}/app/who"], stdout=subprocess.PIPE, text=True) as load:
        moves = 0
        while load.poll() is None:
            server.cli("sysctl", "-w", f"site.main.route.app.pool={('other', 'life')[moves % 2]}")
            moves += 1
            time.sleep(0.1)
        said = load.stdout.read()
    assert "Non-2xx" not in said and "Socket errors" not in said, said
    assert float(re.search(r"Requests/sec: +([\d.]+)", said)[1]) >= 10_000 and moves >= 20, (moves, said)


def test_the_error_page_of_the_site_comes_from_the_cache_while_its_pools_are_down(make, transport):
    """VH8: no worker lives, and no file is opened for the page once it is hot."""
    server = make(config() + "site.main.error_page.503 = /sorry.html\n", files={"sorry.html": "<p>we are sorry"}, transport=transport)
    pid = pid_of(server)
    server.cli("pool", "stop", "life")
    wait_until(lambda: not alive(pid), what="its worker has ended")

    def opened():
        before = server.counter("files_opened")
        answer = fetch(server.port, "/app/who")
        assert (answer.status, answer.body, answer["content-type"].partition(";")[0]) == (503, b"<p>we are sorry", "text/html")
        return server.counter("files_opened") - before
    wait_until(lambda: opened() == 0, what="it comes from the cache")
    assert [opened() for _ in range(5)] == [0] * 5
    server.cli("pool", "start", "life")
    assert pid_of(server) != pid
