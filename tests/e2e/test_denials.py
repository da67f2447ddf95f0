"""Issue 3 §4, AL7: a file that the sandbox keeps from a worker is an alarm with pool, process and the requests inside, where
the kernel tells of it; and where it does not, that is said once."""
import errno
import fcntl
import os
import socket
import struct

import pytest
from http_client import Connection, wait_until
from test_alarms import listed
from test_pools_life import config, pid_of, workers

FILE = "/etc/debian_version"
GET, SET = 1000, 1001


def landlock_abi():
    import ctypes
    return ctypes.CDLL(None, use_errno=True).syscall(444, None, 0, 1)


class Audit:
    """The kernel's audit, asked as auditctl asks."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 9)
        self.socket.settimeout(5)

    def ask(self, kind, body=b""):
        self.socket.send(struct.pack("IHHII", 16 + len(body), kind, 5, 1, 0) + body)
        state, acknowledged = None, False
        while not acknowledged or (kind == GET and state is None):
            answer = self.socket.recv(8192)
            got = struct.unpack("IHHII", answer[:16])[1]
            if got == 2:
                code = struct.unpack("i", answer[16:20])[0]
                if code != 0:
                    raise OSError(-code, os.strerror(-code))
                acknowledged = True
            elif got == GET:
                state = struct.unpack("IIII", answer[16:32])
        return state

    def enabled(self):
        return self.ask(GET)[1]

    def enable(self, on):
        self.ask(SET, struct.pack("10I", 1, on, 0, 0, 0, 0, 0, 0, 0, 0))


def has_audit():
    try:
        Audit().enabled()
        return True
    except OSError:
        return False


needs_audit = pytest.mark.skipif(os.geteuid() != 0 or landlock_abi() < 7 or not has_audit(), reason="the kernel does not tell what Landlock denies")


@pytest.fixture
def audit():
    """The machine's: so nothing else runs beside these tests, and two runs take turns."""
    with open("/run/lock/penstock-test-audit", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kernel = Audit()
        before = kernel.enabled()
        yield kernel
        kernel.enable(before)


def accesses(server):
    return [alarm for alarm in listed(server, "life") if alarm["kind"] == "access" and alarm["what"] == FILE]


def peek(server, how="peek"):
    with Connection(server.port, timeout=20) as connection:
        answer = connection.request(f"/app/{how}", method="POST", fields=["Content-Length: 5000"], body=b"x" * 5000)
        assert (answer.status, int(answer.body)) == (200, errno.EACCES)


@needs_audit
@pytest.mark.alone
@pytest.mark.parametrize("how", ["peek", "peek-fast"])
def test_a_file_that_is_denied_is_an_alarm_with_what_was_inside(make, audit, how):
    audit.enable(0)
    server = make(config() + "alarm.audit = enable\n")
    assert audit.enabled() == 1
    pid_of(server)
    peek(server, how)
    alarm = wait_until(lambda: accesses(server), seconds=10, what="the alarm")[0]
    worker = workers(server)[0]
    assert (alarm["pool"], alarm["worker"], alarm["pid"]) == ("life", worker["worker"], worker["pid"])
    assert alarm["detail"] == "fs.read_file" and alarm["action"] == "refused by the sandbox" and alarm["uid"] >= 1879048192
    # The log's times are as coarse as the kernel's tick: the request before it may have been inside as well.
    inside = [request for request in alarm["requests"] if request["target"] == f"/app/{how}"]
    # And the log comes late: a request that has ended meanwhile may not be found any more.
    assert len(inside) == 1 or (how == "peek-fast" and not inside)
    assert all(request["bytes_in"] > 5000 and (how == "peek-fast" or not request["left"]) for request in inside)
    assert all(request["left"] for request in alarm["requests"] if request not in inside)
    assert "(access): pool life" in server.output()
    for _ in range(3):  # counted
        peek(server, "peek-fast")
    wait_until(lambda: accesses(server)[0]["count"] == 4, what="the others are counted")
    server.stop()
    assert audit.enabled() == 0, "as it was"


@needs_audit
@pytest.mark.alone
def test_what_others_have_turned_on_is_listened_to_and_left_on(make, audit):
    audit.enable(0)
    server = make(config())
    status = server.status()["denials"]
    assert not status["told"] and "alarm.audit = enable" in status["why_not"]
    assert server.output().count("alarms of denied files") == 1
    peek(server)
    assert accesses(server) == []
    audit.enable(1)
    peek(server)
    wait_until(lambda: accesses(server), seconds=10, what="the alarm")
    assert server.status()["denials"]["told"]
    server.sysctl(alarm__audit="off")
    assert server.status()["denials"]["why_not"]
    server.stop()
    assert audit.enabled() == 1


def test_who_cannot_be_told_says_so_once(make):
    server = make(config(), user=None if os.geteuid() != 0 else "daemon")
    assert "to root alone" in server.status()["denials"]["why_not"]
    assert server.output().count("alarms of denied files") == 1
    server = make(config() + "alarm.audit = off\n")
    assert "denied files" not in server.output()
