"""Issue §4, PT1: epoll takes over where io_uring is refused, and both transports give the same bytes."""
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import needs_root
from http_client import Connection, wait_until
from instance import ONE_SITE, UNPRIVILEGED, Instance

REFUSE = Path(__file__).with_name("refuse_uring.py")
DISABLED = Path("/proc/sys/kernel/io_uring_disabled")


def assert_fell_back(server, took_s):
    assert took_s < 10  # it does not wait for anything
    assert server.fetch("/a.txt").body == b"a"
    wait_until(lambda: re.search(r"\bepoll\b", server.cli("status").stdout), what="the transport in the status")
    lines = [line for line in server.output().splitlines() if "epoll" in line and "io_uring" in line]
    assert len(lines) == 1, server.output()


def test_the_status_says_which_transport_is_used(make, transport):
    server = make(files={"a.txt": "a"}, transport=transport)
    assert [role["transport"] for role in server.status()["roles"] if role["role"] == "server"] == [transport]


@pytest.mark.parametrize("error", ["ENOSYS", "EPERM", "EOPNOTSUPP", "ENOMEM"])
def test_epoll_takes_over_where_io_uring_is_refused(make, error):
    start = time.monotonic()
    server = make(files={"a.txt": "a"}, transport="uring", falls_back=True, wrapper=[sys.executable, REFUSE, error])
    assert_fell_back(server, time.monotonic() - start)


@needs_root
@pytest.mark.skipif(not DISABLED.exists(), reason="a kernel without that setting")
@pytest.mark.parametrize("value", ["1", "2"])
def test_epoll_takes_over_where_a_sysctl_forbids_io_uring(make, value, tmp_path):
    """As the kernel refuses it then, and with that value where it says so: a file in the place of /proc's, in a mount namespace of its own."""
    said = tmp_path / "io_uring_disabled"
    said.write_text(value + "\n")
    said.chmod(0o644)
    tmp_path.chmod(0o755)
    aside = ["unshare", "--mount", "bash", "-c", f'mount --bind "{said}" {DISABLED} || exit 77; exec "$@"', "sh"]
    if subprocess.run([*aside, "true"], capture_output=True).returncode != 0:
        pytest.skip("no mount namespace here")
    start = time.monotonic()
    server = make(files={"a.txt": "a"}, transport="uring", falls_back=True, wrapper=[*aside, sys.executable, REFUSE, "EPERM"])
    assert_fell_back(server, time.monotonic() - start)
    assert f"sysctl kernel.io_uring_disabled = {value}" in server.output()


@needs_root
@pytest.mark.alone
@pytest.mark.skipif(not DISABLED.exists() or not os.environ.get("PENSTOCK_TEST_SYSCTL"), reason="changes a setting of the whole machine")
@pytest.mark.parametrize("value", ["1", "2"])
def test_epoll_takes_over_where_the_sysctl_of_the_machine_forbids_io_uring(make, value):
    before = DISABLED.read_text()
    DISABLED.write_text(value)
    try:
        start = time.monotonic()
        server = make(files={"a.txt": "a"}, transport="uring", falls_back=True, user=UNPRIVILEGED)
        assert_fell_back(server, time.monotonic() - start)
    finally:
        DISABLED.write_text(before)


@pytest.mark.alone
def test_epoll_takes_over_within_a_second(make):
    """PT1's bar, with what the start costs anyway."""
    start = time.monotonic()
    server = make(files={"a.txt": "a"}, transport="uring", falls_back=True, wrapper=[sys.executable, REFUSE, "ENOSYS"])
    assert_fell_back(server, 0)
    assert time.monotonic() - start < 1 + 0.5  # Python's own start is in it


def test_a_server_that_falls_back_again_after_a_crash(make):
    server = make(files={"a.txt": "a"}, transport="uring", falls_back=True, wrapper=[sys.executable, REFUSE, "ENOSYS"])
    os.kill(server.role("server"), 9)
    server.wait_ready()
    assert server.fetch("/a.txt").body == b"a"


SCRIPT = [  # one connection: (what is sent, methods answered)
    ("GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n", ["GET"]),
    ("HEAD /a.txt HTTP/1.1\r\nHost: x\r\n\r\n", ["HEAD"]),
    ("GET /a.txt HTTP/1.1\r\nHost: x\r\nRange: bytes=1-3\r\n\r\nGET /none HTTP/1.1\r\nHost: x\r\n\r\n", ["GET", "GET"]),
    ("GET /a.txt HTTP/1.1\r\nHost: x\r\nRange: bytes=0-0,4-\r\n\r\n", ["GET"]),
    ("GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\nGET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n", ["GET", "GET"]),
    ("POST /a.txt HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", ["POST"]),
    ("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", ["OPTIONS"]),
    ("GET /dir HTTP/1.1\r\nHost: x\r\n\r\n", ["GET"]),
    ("GET /a.txt HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n", ["GET"]),
    ("GET /a%2 HTTP/1.1\r\nHost: x\r\n\r\n", ["GET"]),  # refused: the last of the connection
]


def play(port):
    """All bytes of the script's answers, with the date, boundaries and port made equal."""
    received = b""
    with Connection(port) as connection:
        for text, methods in SCRIPT:
            connection.send(text)
            for method in methods:
                response = connection.read_response(method)
                lines = [f"{response.version} {response.status} {response.reason}"] + [f"{k}: {v}" for k, v in response.fields]
                received += "\n".join(lines).encode() + b"\n\n" + response.body
        assert connection.at_end()
    received = re.sub(rb"Date: [^\n]+", b"Date: D", received)
    boundaries = re.findall(rb"boundary=([^\n]+)", received)
    for number, boundary in enumerate(boundaries):
        received = received.replace(boundary, b"B%d" % number)
    return received.replace(str(port).encode(), b"PORT")


def test_both_transports_give_equal_bytes(make):
    """Twice on each: from the file, and from the cache."""
    answers = []
    tree = Instance(ONE_SITE)
    for transport in ("uring", "epoll"):
        server = make("site.main.hosts = *\nsite.main.root = " + str(tree.www) + "\ncache.admit_hits = 1\n", transport=transport)
        if not answers:
            for path, body in {"a.txt": b"0123456789", "big.bin": bytes(range(256)) * 4096, "dir/index.html": b"<p>"}.items():
                tree.put(path, body)
                os.utime(tree.www / path, (1e9, 1e9))
        answers += [play(server.port), play(server.port)]
    tree.remove()
    assert answers[0].count(b"HTTP/1.1") == sum(len(methods) for _, methods in SCRIPT)
    assert answers[1] == answers[0] and answers[2] == answers[0] and answers[3] == answers[0]
