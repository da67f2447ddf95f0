"""Issue 3 §5, DY17: a new worker is warmed up before it gets requests of clients."""
import os
import signal
import time

from http_client import wait_until
from test_pools_life import LIFE, Load, config, show, status_of, workers


def test_no_request_of_a_client_meets_a_cold_worker(make):
    server = make(config("warmup=/app/init;workers_max=2", app=f"{LIFE} cold"))
    assert status_of(server, "/app/who") == 200  # it waited
    with Load(server) as load:
        for number in range(1, 4):
            server.cli("pool", "recycle", "life")
            wait_until(lambda: show(server)["pool"]["recycled"] >= number, what=f"recycled {number} times")
    assert load.failed == [] and load.done > 10
    assert show(server)["pool"]["failures"] == 0


def test_without_its_warm_up_the_same_worker_is_met_cold(make):
    server = make(config(app=f"{LIFE} cold"))
    assert status_of(server, "/app/who") == 503


def test_a_failed_warm_up_is_a_failed_start_and_says_why(make):
    server = make(config("warmup=/app/who /app/fail;rapid_fail.crashes=2;rapid_fail.probe=0"))
    assert status_of(server, "/app/who") == 503  # when the pool was taken out of service
    pool = show(server)["pool"]
    assert pool["state"] == "failed" and pool["failures"] == 2
    assert "GET /app/fail was answered 500" in pool["last_failure"]
    assert "its warm-up failed: GET /app/fail was answered 500" in server.words.read_text()


def test_the_start_limit_holds_for_it_and_a_change_of_configuration_does_not_wait(make):
    server = make(config("warmup=http://a.example/app/hold;start_timeout=3s;rapid_fail.crashes=1;rapid_fail.probe=0;workers_min=1"))
    wait_until(lambda: any("warm_up" in w for w in workers(server, "starting")), what="it is warming up")
    assert workers(server, "starting")[0]["warm_up"] == "GET http://a.example/app/hold"
    began = time.monotonic()
    server.cli("sysctl", "-w", "pool.life.queue_max=7")
    if time.monotonic() - began < 2:  # else this machine was too slow to tell
        assert workers(server, "starting"), "the change was in force while it was still warming up"
    wait_until(lambda: show(server)["pool"]["state"] == "failed", what="it was too slow")
    assert "in its warm-up: GET http://a.example/app/hold" in server.words.read_text()


def test_a_worker_that_has_served_is_not_warmed_up_again_for_another_server(make):
    server = make(config("warmup=/app/init;workers_min=1", app=f"{LIFE} cold"))
    wait_until(lambda: workers(server), what="ready")
    pid, old = workers(server)[0]["pid"], server.role("server")
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: server.words.read_text().count("is ready again") == 1 and len(workers(server)) == 1, what="taken over")
    assert workers(server)[0]["pid"] == pid
