"""Issue 3 §1, SB8: what a worker does to the descriptors that it was given stops nobody but itself."""
import ctypes
import errno
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import needs_root
from http_client import wait_until
from instance import eventfds
from test_pools_life import LIFE, config, fetch, pid_of, status_of, workers

ONE = "workers_min=1;workers_max=1;"
LIBC = ctypes.CDLL(None, use_errno=True)
KCMP = 312  # x86-64


def ask_at_once(server, threads=4):
    """The statuses of as many requests to the worker, while files are served all the time."""
    with ThreadPoolExecutor(threads) as clients:
        asked = [clients.submit(status_of, server, "/app/who") for _ in range(threads)]
        while not all(one.done() for one in asked):
            assert fetch(server.port, "/a.txt").status == 200
        return [one.result() for one in asked]


def test_a_worker_cannot_jam_what_the_server_wakes_it_with(make):
    server = make(config(ONE), files={"a.txt": "a"})
    front, first = server.role("server"), pid_of(server)
    said = fetch(server.port, "/app/jam-own").body
    for _ in range(5):  # it sleeps between them, and is to be rung each time
        assert ask_at_once(server, 1) == [200]
    assert int(said) == 0
    assert pid_of(server) == first
    assert server.role("server") == front, "the server is the same"


def test_a_worker_that_jams_what_wakes_the_server_stops_nobody_but_itself(make):
    server = make(config(ONE + "ping_interval=1s;ping_timeout=1s"), files={"a.txt": "a"})
    front, first = server.role("server"), pid_of(server)
    status_of(server, "/app/jam-servers")
    ask_at_once(server)
    wait_until(lambda: [w for w in workers(server) if w["pid"] != first], what="it is replaced: it waits for ever to ring the server")
    assert ask_at_once(server) == [200] * 4
    assert server.role("server") == front, "the server is the same"


def test_a_worker_that_rings_without_end_keeps_nobody_waiting(make):
    server = make(config(ONE), files={"a.txt": "a"})
    front, first = server.role("server"), pid_of(server)
    with ThreadPoolExecutor(1) as clients:
        flood = clients.submit(status_of, server, "/app/flood")
        while not flood.done():
            assert fetch(server.port, "/a.txt").status == 200
        assert flood.result() == 200
    assert pid_of(server) == first, "nothing is wrong with a bell that rings"
    assert server.role("server") == front


@needs_root
def test_the_server_rings_with_what_nobody_else_has(make):
    """An eventfd of two processes is one description: either can make the other's write wait, or its read."""
    server = make(config(ONE + "concurrency=1") + "server.reactors = 2\n")
    worker, front = pid_of(server), eventfds(server.role("server"))
    assert front & eventfds(server.role("logd")) == set()
    assert len(front & eventfds(worker)) == 2, "what the worker rings each reactor with, which that only polls"


def same_description(one, other):
    """kcmp(2): whether two descriptors, each (pid, number), are of one open file, whose flags and place are both's."""
    answer = LIBC.syscall(KCMP, one[0], other[0], 0, one[1], other[1])
    if answer < 0 and ctypes.get_errno() in (errno.ENOSYS, errno.EPERM):
        pytest.skip("this kernel compares no descriptors")
    return answer == 0


def shared_by(worker, other):
    """What the descriptors are that two processes share."""
    numbers = {pid: [int(name) for name in os.listdir(f"/proc/{pid}/fd")] for pid in (worker, other)}
    names = {fd: os.readlink(f"/proc/{worker}/fd/{fd}") for fd in numbers[worker]}
    return {names[mine] for mine in numbers[worker] for theirs in numbers[other] if same_description((worker, mine), (other, theirs))}


@needs_root
@pytest.mark.parametrize("runtime, app", [("external", LIFE), ("fastcgi", "unix:/nobody/listens"), ("wsgi", "answers:application")], ids=["external", "fastcgi", "wsgi"])
def test_a_worker_shares_nothing_open_with_others_but_memory_and_bells(make, tmp_path, runtime, app):
    """One open file of two processes can be made to wait, moved in, or have its signals sent elsewhere by either."""
    (tmp_path / "answers.py").write_text("def application(environ, start): return []\n")
    for part in (tmp_path, *list(tmp_path.parents)[:2]):
        part.chmod(0o755)
    text = config(ONE + (f"directory={tmp_path};" if runtime == "wsgi" else ""), app=app)
    server = make(text.replace("runtime = external", f"runtime = {runtime}"))
    worker, front = wait_until(lambda: workers(server), what="a worker that is ready")[0]["pid"], server.role("server")
    assert same_description((front, 1), (front, 1)), "the question is answered"
    bells, bed = "anon_inode:[eventfd]", "anon_inode:[eventpoll]"  # the supervisor hangs bells there, and waits nowhere near
    for other, whats in ((front, (bells,)), (server.role("logd"), ()), (server.process.pid, ("/memfd:", bells, bed))):
        assert [name for name in shared_by(worker, other) if not name.startswith(whats)] == []
