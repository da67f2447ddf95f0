"""DY16: applications behind servers of their own, by the protocols these speak: HTTP/1.1, SCGI and uwsgi. The servers are
uWSGI and gunicorn, unmodified; gunicorn and Python's in a program, which their pools start themselves; and one that says what a
test wants."""
import contextlib
import hashlib
import json
import os
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
from demo import needs_pools
from http_client import Closed, Connection, wait_until
from instance import ONE_SITE, TREE, Instance

UWSGI, GUNICORN = Path("/usr/bin/uwsgi"), Path("/usr/bin/gunicorn")
pytestmark = [needs_pools, pytest.mark.skipif(not (UWSGI.exists() and GUNICORN.exists()), reason="uwsgi and gunicorn are not installed")]
APPS = TREE / "tests/support/apps/upstream"
POOLS = {"uwsgi": "uwsgi", "scgi": "scgi", "http": "http", "raw": "http", "rawscgi": "scgi", "narrow": "http", "started": "http", "gunicorn": "http"}
STARTED = {"started": f"/usr/bin/python3 {APPS}/upstream_wsgi.py",
           "gunicorn": "/usr/bin/python3 -m gunicorn --bind fd://0 --worker-class gthread --threads 8 --keep-alive 30 upstream_wsgi"}
BODY = bytes(range(256)) * 20_000  # 5 MB


class Scripted:
    """A server that answers each request on a connection by the next of its answers: bytes, or None to close."""

    def __init__(self, path):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        path.chmod(0o666)
        self.listener.listen()
        self.answers, self.requests, self.connections, self.pause_s = [], [], 0, 0
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self.serve, args=(peer,), daemon=True).start()

    def serve(self, peer):
        with peer:
            text = b""
            while part := peer.recv(1 << 16):
                text += part
                if b"\r\n\r\n" not in text and not text.endswith(b","):
                    continue
                self.requests.append(text)
                text = b""
                time.sleep(self.pause_s)
                answer = self.answers.pop(0)
                if answer is None:
                    return
                peer.sendall(answer.removesuffix(b"<close>"))
                if answer.endswith(b"<close>"):
                    return


@pytest.fixture(scope="module")
def upstreams():
    with Instance() as instance:
        sockets = instance.dir / "sockets"
        sockets.mkdir()
        sockets.chmod(0o777)
        lines = ONE_SITE + "log.access.format = json\nlog.access.path = {LOGS}/access.log\n" + f"identity.up.read = {APPS}\n"
        for pool, runtime in POOLS.items():
            lines += (f"site.main.route.{pool}.prefix = /{pool}\nsite.main.route.{pool}.handler = pool\nsite.main.route.{pool}.pool = {pool}\n"
                      f"pool.{pool}.runtime = {runtime}\npool.{pool}.app = {STARTED.get(pool, f'unix:{sockets}/{pool}')}\n")
            if pool != "gunicorn":
                lines += f"pool.{pool}.identity = {'starts' if pool == 'started' else 'up'}\npool.{pool}.sandbox.tier = ns\n"
        lines += ("pool.narrow.concurrency = 6\npool.narrow.connections = 2\n"
                  f"pool.started.state = {{DIR}}/started\nidentity.starts.read = {APPS}\n"
                  f"pool.gunicorn.state = {{DIR}}/gunicorn\npool.gunicorn.directory = {APPS}\n")  # else with the defaults
        instance.write_config(lines)
        raw = {name: Scripted(sockets / name) for name in ("raw", "rawscgi", "narrow")}
        silent = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": APPS}
        as_user = ["--uid", "nobody"] if os.geteuid() == 0 else []
        peers = [subprocess.Popen([UWSGI, "--plugin", "python3", "--uwsgi-socket", sockets / "uwsgi", "--scgi-socket", sockets / "scgi", "--chmod-socket=666",
                                   "--master", "--processes", "4", "--module", "upstream_wsgi", "--die-on-term", *as_user], **silent),
                 subprocess.Popen([GUNICORN, "--bind", f"unix:{sockets}/http", "--worker-class", "gthread", "--threads", "8", "--keep-alive", "30",
                                   "--umask", "0", "--graceful-timeout", "1", "upstream_wsgi"], **silent)]
        try:
            wait_until(lambda: all((sockets / name).exists() for name in ("uwsgi", "scgi", "http")), 20, what="the servers listen")
            instance.start()
            instance.raw = raw
            yield instance
        finally:
            for peer in peers:
                peer.terminate()
            for peer in peers:
                peer.wait(10)
            for one in raw.values():
                one.listener.close()


def ask(server, target, **options):
    with Connection(server.port) as connection:
        return connection.request(target, **options)


REAL = ["uwsgi", "scgi", "http", *STARTED]


@pytest.mark.parametrize("pool", REAL)
def test_an_application_is_told_of_the_request_and_answers(upstreams, pool):
    answer = ask(upstreams, f"/{pool}/some%20where?a=b", fields=["X-Mine: 1", "X_Mine: 2", "X-Forwarded-For: 6.6.6.6", "Cookie: a=1", "Cookie: b=2",
                                                               "Connection: X-Hop", "X-Hop: 1", "Proxy: evil"])
    assert answer.status == 200, f"{answer} {upstreams.output()}"
    environ = json.loads(answer.body)
    assert environ["REQUEST_METHOD"] == "GET" and environ["QUERY_STRING"] == "a=b" and environ["HTTP_X_MINE"] == "1"
    assert environ["SCRIPT_NAME"] + environ["PATH_INFO"] == f"/{pool}/some where"
    assert environ["HTTP_COOKIE"] == "a=1; b=2" and environ["HTTP_HOST"] == f"127.0.0.1:{upstreams.port}"
    assert "HTTP_PROXY" not in environ
    if POOLS[pool] == "http":
        assert environ["HTTP_X_FORWARDED_FOR"] == "127.0.0.1" and "HTTP_X_HOP" not in environ
    else:
        assert environ["REMOTE_ADDR"] == "127.0.0.1" and environ["SCRIPT_NAME"] == f"/{pool}"
    assert ask(upstreams, f"/{pool}/x", method="HEAD").status == 200


@pytest.mark.parametrize("pool", REAL)
def test_large_bodies_stream_both_ways(upstreams, pool):
    answer = ask(upstreams, f"/{pool}/sum", method="POST", fields=[f"Content-Length: {len(BODY)}"], body=BODY)
    assert answer.body.decode() == hashlib.sha256(BODY).hexdigest()
    large = ask(upstreams, f"/{pool}/large?{64 * 65_536}")
    assert large.status == 200 and large.body == bytes(range(256)) * 256 * 64
    if pool == "started":
        return  # wsgiref does not read chunks
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (BODY[:70_000], BODY[70_000:100_000])) + b"0\r\n\r\n"
    answer = ask(upstreams, f"/{pool}/sum", method="POST", fields=["Transfer-Encoding: chunked"], body=chunks)
    if POOLS[pool] == "http":
        assert answer.body.decode() == hashlib.sha256(BODY[:100_000]).hexdigest()
    else:
        assert answer.status == 411, "these protocols have no body without a length"


def test_a_server_that_a_pool_has_started_does_nothing_that_is_an_alarm(upstreams):
    assert [ask(upstreams, f"/{pool}/x").status for pool in STARTED] == [200, 200]
    assert json.loads(upstreams.cli("alarm", "list", "--json").stdout)["alarms"] == []


@pytest.mark.parametrize("pool", ["uwsgi", "scgi", "http"])
def test_a_server_that_dies_in_the_middle_cuts_the_answer(upstreams, pool):
    with Connection(upstreams.port) as connection, pytest.raises((Closed, ConnectionResetError)):
        connection.request(f"/{pool}/die")
    wait_until(lambda: ask(upstreams, f"/{pool}/x").status == 200, 10, what="its next process serves")


OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
NONSENSE = {
    b"what?\r\n\r\n": "status line", b"HTTP/1.1 200 OK\n\nok<close>": "CRLF", b"HTTP/2 200 OK\r\n\r\n": "status line",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok": "two Content-Length",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n": "a Content-Length and a Transfer-Encoding",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n": "Transfer-Encoding that is not chunked",
    b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok": "no number", b"HTTP/1.1 200 OK\r\nX-A: 1\r\n folded: 2\r\n\r\n": "field name",
    b"HTTP/1.1 200 OK\r\nX-A: 1\x01\r\nContent-Length: 2\r\n\r\nok": "control character", b"HTTP/1.1 101 Switching\r\n\r\n": "interim",
    b"HTTP/1.1 200 OK\r\nX-Cut: <close>": "before its head was whole", b"<close>": "without an answer",
}


def test_what_is_no_answer_is_502_with_the_reason(upstreams):
    raw = upstreams.raw["raw"]
    for answer, reason in NONSENSE.items():
        raw.answers = [answer, answer]  # a connection that had been kept is tried once more
        got = ask(upstreams, "/raw/x", method="POST", fields=["Content-Length: 0"])
        assert got.status == 502, (answer, got)
        wait_until(lambda: reason in upstreams.output().split("HTTP application ")[-1], what=f"{reason} is logged for {answer}: {upstreams.output()[-300:]}")
    raw.answers = [OK]
    assert ask(upstreams, "/raw/x").body == b"ok", "and the next is served"


def test_connections_are_kept_and_what_is_stale_is_not_used(upstreams):
    raw = upstreams.raw["raw"]
    raw.answers = [OK.replace(b"Content-Type", b"Connection: close\r\nContent-Type") + b"<close>"]
    ask(upstreams, "/raw/x")
    before, chunked = raw.connections, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nok\r\n0\r\nX-T: 1\r\n\r\n"
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    raw.answers = [OK, chunked, interim + OK, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", OK]
    with Connection(upstreams.port) as connection:
        assert [connection.request("/raw/x").status for _ in range(5)] == [200, 200, 200, 304, 200]
    assert raw.connections == before + 1, "one connection for all"
    raw.answers = [None, OK]  # it closes as the request arrives: asked once more, on a new one
    assert ask(upstreams, "/raw/x").body == b"ok" and raw.connections == before + 2
    raw.answers = [OK + OK.replace(b"ok", b"no"), OK]  # the second answer is nobody's
    assert ask(upstreams, "/raw/x").body == b"ok" and ask(upstreams, "/raw/x").body == b"ok"
    assert raw.connections == before + 3


def test_what_its_connections_do_not_take_waits_in_the_worker(upstreams):
    narrow = upstreams.raw["narrow"]
    narrow.answers, narrow.pause_s = [OK] * 6, 0.05
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Connection(upstreams.port)) for _ in range(6)]
        for client in clients:
            client.send(b"GET /narrow/x HTTP/1.1\r\nHost: a\r\n\r\n")
        assert [client.read_response().status for client in clients] == [200] * 6
    assert narrow.connections == 2


def test_answers_cannot_smuggle_and_heads_of_cgi_are_understood(upstreams):
    raw, cgi = upstreams.raw["raw"], upstreams.raw["rawscgi"]
    raw.answers = [b"HTTP/1.1 200 OK\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=9\r\nStatus: 404\r\nX-Kept: 1\r\n\r\nto the end<close>"]
    answer = ask(upstreams, "/raw/x")
    assert (answer.status, answer.body, answer.get("x-kept")) == (200, b"to the end", "1")
    assert answer.get("x-hop") is None and answer.get("keep-alive") is None
    cgi.answers = [b"Status: 404 None\nContent-Type: text/plain\n\nnone<close>", b"HTTP/1.0 203 Fine\r\nContent-Length: 2\r\n\r\nok", b"Transfer-Encoding: chunked\n\n"]
    assert [(a.status, a.body) for a in (ask(upstreams, "/rawscgi/x") for _ in range(2))] == [(404, b"none"), (203, b"ok")]
    assert ask(upstreams, "/rawscgi/x").status == 502
    head = cgi.requests[0]
    assert head.split(b":", 1)[1].startswith(b"CONTENT_LENGTH\x000\x00SCGI\x001\x00") and int(head.split(b":", 1)[0]) == len(head.split(b":", 1)[1]) - 1
