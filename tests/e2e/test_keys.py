"""Issue 5 §1, TL2: the key process in the life of an instance."""
import os
import signal

from http_client import fetch, wait_until
from instance import ONE_SITE

KEYS = ONE_SITE + "site.main.tls.key = {DIR}/key.pem\n"


def roles(server):
    return {role["role"]: role for role in server.status()["roles"] if role["state"] == "ready"}


def keyd(server):
    return roles(server).get("keyd", {}).get("pid")


def test_no_key_file_no_key_process(make):
    server = make()
    assert keyd(server) is None


def test_it_comes_with_the_first_key_file_and_goes_with_the_last(make):
    server = make()
    front = server.role("server")
    server.write_config(KEYS)
    wait_until(lambda: keyd(server), 10)
    server.write_config(ONE_SITE)
    wait_until(lambda: keyd(server) is None, 10)
    server.write_config(KEYS)
    wait_until(lambda: keyd(server), 10)
    assert server.role("server") == front, "a running server was replaced for it"
    assert server.status()["keyd"]["restarts"] == 0


def test_killed_it_is_replaced_and_the_server_goes_on(make):
    server = make(KEYS, files={"a.txt": "a"})
    front = server.role("server")
    first = wait_until(lambda: keyd(server), 10)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: keyd(server) not in (None, first), 10)
    assert server.role("server") == front
    assert fetch(server.port, "/a.txt").body == b"a"
    assert "was killed by SIGKILL" in server.status()["keyd"]["last_end"]


def test_a_killed_server_leaves_it_alone(make):
    server = make(KEYS, files={"a.txt": "a"})
    first = wait_until(lambda: keyd(server), 10)
    front = server.role("server")
    os.kill(front, signal.SIGKILL)
    wait_until(lambda: roles(server).get("server", {}).get("pid") not in (None, front), 10)
    assert fetch(server.port, "/a.txt").body == b"a"
    assert keyd(server) == first
