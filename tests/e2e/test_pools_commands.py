"""Issue 3 §5: commands that are answered when they are in force, the ladder at the end, and what else recycles."""
import json
import os
import signal
import threading
import time

import pytest
from conftest import needs_root
from http_client import wait_until
from instance import ONE_SITE
from test_pools_life import alive, config, pid_of, show, status_of


def test_a_command_is_answered_when_the_server_knows(make):
    server = make(config())
    for _ in range(10):
        server.cli("pool", "stop", "life")
        assert status_of(server, "/app/who") == 503
        server.cli("pool", "start", "life")
        assert status_of(server, "/app/who") == 200


def test_a_command_is_answered_also_where_no_server_is_there_to_know(make):
    server = make(config())
    stopped = server.role("server")
    os.kill(stopped, signal.SIGSTOP)
    assert "stopped" in server.cli("pool", "stop", "life").stdout
    os.kill(stopped, signal.SIGCONT)
    wait_until(lambda: status_of(server, "/app/who") == 503, what="it has heard of it")


@pytest.mark.parametrize("stop", ["pool", "penstock"])
def test_a_worker_that_heeds_nothing_is_killed_at_the_end_of_the_ladder(make, stop):
    server = make(config("request_timeout=0;stop_timeout=1s;ping_interval=0") + "server.drain_timeout = 1s\n")
    pid = pid_of(server)
    thread = threading.Thread(target=lambda: status_of(server, "/app/deaf"))
    thread.start()
    wait_until(lambda: any("/app/deaf" in r["target"] for r in json.loads(server.cli("requests", "--json").stdout)["requests"]),
               what="it is inside")
    if stop == "pool":
        server.cli("pool", "stop", "life")
    else:
        server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: not alive(pid), seconds=20, what="the worker is killed")
    thread.join()
    if stop == "penstock":
        assert server.process.wait(20) == 0
    words = server.words.read_text()
    if stop == "pool":
        assert words.index("gets no new requests") < words.index("has not finished in 1") < words.index("has not heeded SIGTERM and is killed")
    assert "has not heeded SIGTERM and is killed" in words
    assert "was killed by SIGKILL" in words


def test_any_file_of_the_application_recycles_that_recycle_files_names(make, open_folder):
    (open_folder / "lib").mkdir()
    (open_folder / "lib/part.py").write_text("1")
    server = make(config(f"directory={open_folder};recycle.files=lib *.ini"))
    for name in ("lib/part.py", "new.ini"):
        pid = pid_of(server)
        time.sleep(2.2)  # files are looked at once a second
        (open_folder / name).write_text("22")
        wait_until(lambda: not alive(pid), what=f"replaced for {name}")
        assert f"{open_folder}/{name} has changed" in server.words.read_text()
    pid = pid_of(server)
    (open_folder / "other.txt").write_text("1")
    time.sleep(3)
    assert pid_of(server) == pid


@needs_root
def test_memory_of_the_processes_that_a_worker_started_counts(make, open_folder):
    script = open_folder / "big"
    script.write_text("#!/usr/bin/python3\nimport time\nheld = b'x' * (64 << 20)\ntime.sleep(60)\n")
    script.chmod(0o755)
    server = make(ONE_SITE + "site.main.route.app.prefix = /app\nsite.main.route.app.handler = pool\nsite.main.route.app.pool = life\n"
                  f"pool.life.runtime = cgi\npool.life.app = {script}\npool.life.recycle.memory = 48m\npool.life.request_timeout = 60s\n"
                  "pool.life.stop_timeout = 1s\npool.life.identity = free\nidentity.free.execute = /usr/bin\n")
    threading.Thread(target=lambda: status_of(server, "/app/x"), daemon=True).start()
    wait_until(lambda: show(server)["pool"]["recycled"] >= 1, seconds=20, what="recycled for what its script holds")
    assert "MiB of memory" in server.words.read_text()
