"""DY7: idle workers that are suspended: stopped where they are, their memory taken back, and woken by the next request."""
import os
import signal
import time
from statistics import median

import pytest
from conftest import needs_root
from http_client import wait_until
from instance import LONG
from test_pools_life import alive, config, show, who_answers, workers

ASLEEP = "idle_timeout=50ms;idle_action=suspend;ping_interval=100ms;ping_timeout=200ms"


def is_stopped(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        return stat.read().rsplit(")", 1)[1].split()[0] == "T"


def asleep(server):
    """The process of the one worker, once it sleeps."""
    who_answers(server)
    pid = wait_until(lambda: workers(server, "suspended"), what="the idle worker sleeps")[0]["pid"]
    assert [w["pid"] for w in workers(server, None)] == [pid]
    wait_until(lambda: is_stopped(pid), what="it is stopped")
    return pid


@needs_root
def test_an_idle_worker_sleeps_until_it_is_needed(make):
    server = make(config(ASLEEP))
    started = who_answers(server)
    pid = asleep(server)
    wait_until(lambda: "KiB of memory left, of" in server.words.read_text(), what="its memory was taken back")
    assert "0/1, 1 suspended" in server.cli("pool", "list").stdout
    time.sleep(0.6)  # twice what a worker has to answer a ping
    assert who_answers(server) == started and show(server)["pool"]["started"] == 1  # woken, and no other started
    words = server.words.read_text()
    assert f"(pid {pid}): is suspended: idle for" in words and f"(pid {pid}): is woken after" in words
    assert asleep(server) == pid and show(server)["pool"]["failures"] == 0
    server.cli("pool", "recycle", "life")
    wait_until(lambda: not alive(pid), what="recycled in its sleep")
    assert show(server)["pool"]["recycled"] == 1 and "killed by" not in server.words.read_text()  # it left by itself


@needs_root
@pytest.mark.skipif(not LONG, reason="PENSTOCK_TEST_LONG=1")
def test_every_way_out_of_sleep_works(make):
    server = make(config(ASLEEP))
    pid = asleep(server)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: "while it was suspended" in server.words.read_text(), what="its death is told")
    assert asleep(server) != pid and show(server)["pool"]["failures"] == 1

    pid, old = asleep(server), server.role("server")
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: server.role("server") != old, what="another server")
    assert asleep(server) == pid  # a request to the next server has woken it

    server.cli("sysctl", "-w", "pool.life.idle_action=terminate")
    wait_until(lambda: not alive(pid), what="nobody is to sleep any more")
    server.cli("sysctl", "-w", "pool.life.idle_action=suspend")
    pid = asleep(server)
    server.cli("pool", "stop", "life")
    wait_until(lambda: not alive(pid), what="stopped in its sleep")
    server.cli("pool", "start", "life")
    pid = asleep(server)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(20) == 0 and not alive(pid)


@needs_root
@pytest.mark.alone
@pytest.mark.skipif(not LONG, reason="PENSTOCK_TEST_LONG=1")
def test_a_suspended_worker_answers_within_50_ms(make):
    server = make(config(ASLEEP))
    spans = []
    for _ in range(5):
        asleep(server)
        began = time.monotonic()
        who_answers(server)
        spans.append(time.monotonic() - began)
    assert median(spans) <= 0.05, spans
