"""QS1 over several servers: a limit of connections holds for all of them together, while one takes over from another and after one was killed."""
import os
import signal

import pytest

from http_client import wait_until
from instance import ONE_SITE
from test_limits import open_by_eight

LIMIT, SLOW = 20, 8


def served_of_forty(server):
    """Of forty that eight open at once those that are served; the others are closed."""
    held, refused = open_by_eight(server, 5)
    for connection in refused:
        connection.close()
    return held


def kill(server, pid):
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: f"server (pid {pid}) was killed by" in server.output(), what=f"the end of {pid} is known")


@pytest.mark.parametrize("key", ["limits.connections", "limits.connections_per_client"])
def test_a_limit_is_exact_over_a_server_that_is_replaced_and_those_that_are_killed(make, transport, key):
    server = make(ONE_SITE + f"{key} = {LIMIT}\nserver.drain_timeout = 60s\nsite.main.route.r.prefix = /r/\n",
                  files={"a.txt": "a", "big.bin": b"x" * (16 << 20)}, transport=transport)
    wait_until(lambda: server.counter("connections_open") == 0)
    old = server.role("server")
    slow = [server.connect() for _ in range(SLOW)]
    for connection in slow:
        connection.send("GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.fill()
    (server.dir / "elsewhere").mkdir()
    server.sysctl(site__main__route__r__root=server.dir / "elsewhere")  # beyond the old one's sandbox: a new server comes
    held = served_of_forty(server)
    assert len(held) == LIMIT - SLOW  # the old one still has the others
    kill(server, old)
    held += served_of_forty(server)
    assert len(held) == LIMIT
    new = server.role("server")
    kill(server, new)
    wait_until(lambda: server.role("server") != new, what="another one")
    held_anew = served_of_forty(server)
    assert len(held_anew) == LIMIT
    for connection in slow + held + held_anew:
        connection.close()
