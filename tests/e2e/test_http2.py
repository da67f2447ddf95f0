"""Issue 5 §2: HTTP/2 by the clients people use, and against those who mean ill, who are told why in the journal."""
import re
import subprocess
from pathlib import Path

import pytest
from conftest import needs

pytest.importorskip("hpack")
from demo import FEATURES  # noqa: E402
from h2_client import (CANCEL, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, HEADERS, INITIAL_WINDOW_SIZE, NO_ERROR, PING,  # noqa: E402
                       PROTOCOL_ERROR, RST_STREAM, WINDOW_UPDATE, H2Client, frame)
from http_client import Connection, wait_until  # noqa: E402
from instance import JSON_LOG, ONE_SITE, tls_lines  # noqa: E402

pytestmark = pytest.mark.skipif(not FEATURES["http/2"]["available"], reason="this build does not speak HTTP/2")
LOG = JSON_LOG.replace("log.access.fields = ", "log.access.fields = cs-version ")
CONFIG = ONE_SITE + LOG + "http2.cleartext = 1\n"
BIG = bytes(range(256)) * 8000


def run(*command):
    return subprocess.run(command, capture_output=True, timeout=60, check=True).stdout


def server_of(make, transport, more="", **options):
    return make(CONFIG + more, files={"a.txt": "a", "k.txt": "k" * 1024, "big.bin": BIG}, transport=transport, **options)


def wait_reason(server, phrase_or_substatus):
    return wait_until(lambda: [r for r in server.records() if str(r.get("substatus")) == str(phrase_or_substatus)], what="a record")


@needs("curl")
def test_curl(make, transport):
    server = server_of(make, transport)
    url = f"http://127.0.0.1:{server.port}/"
    curl = ("curl", "-sf", "--http2-prior-knowledge")
    assert run(*curl, url + "a.txt") == b"a"
    assert run(*curl, url + "big.bin") == BIG
    assert run(*curl, "-r", "100-199", url + "big.bin") == BIG[100:200]
    assert run(*curl, "-o", "/dev/null", "-w", "%{http_version}", url + "a.txt") == b"2"
    assert {r["version"] for r in server.wait_records(4) if "version" in r} <= {"HTTP/2.0", "HTTP/2"}


@needs("nghttp")
@needs("h2load")
def test_nghttp_and_h2load(make, transport):
    server = server_of(make, transport)
    url = f"http://127.0.0.1:{server.port}/"
    assert run("nghttp", url + "k.txt", url + "a.txt").count(b"k") == 1024
    said = run("h2load", "-n", "2000", "-c", "4", "-m", "32", url + "k.txt").decode()
    assert "2000 succeeded, 0 failed" in said


def fields_of(answer):
    fields = answer.fields.items() if isinstance(answer.fields, dict) else answer.fields
    return {name.lower(): value for name, value in fields if name.lower() not in ("date", "connection", "age", ":status")}


def test_the_same_urls_give_equal_answers(make, transport, tmp_path):
    """A thousand URLs, over HTTP/1.1, HTTP/1.1 on TLS, HTTP/2 and HTTP/2 on TLS."""
    lines, secure = tls_lines(tmp_path)
    server = server_of(make, transport, lines)
    for number in range(100):
        server.put(f"d/{number}.txt", f"{number} " * number)
    server.put("large.bin", BIG[:200_000])
    paths = [path for n in range(100) for path in (
        f"/d/{n}.txt", f"/d/{n}.txt?q={n}", f"/d/./{n}.txt", f"/d/%3{n % 10}.txt", f"/none/{n}", f"/d/../{n}", f"/%{n:02x}", f"/d/{n}.txt/", "/d", f"/large.bin?{n}")]
    assert len(paths) == 1000

    def connect(over_tls):
        if not over_tls:
            return server.connect()
        connection = Connection(secure.port)
        connection.sock = secure.client(["http/1.1"]).wrap_socket(connection.sock, server_hostname="localhost")
        return connection

    ones = {over_tls: connect(over_tls) for over_tls in (False, True)}
    with H2Client(server.port) as plain, H2Client(secure.port, tls=secure.client(["h2"])) as ciphered:
        for path in paths:
            answers = []
            for over_tls, one in ones.items():
                answers.append(one.request(path, host="127.0.0.1"))
                if answers[-1].get("connection") == "close":
                    one.close()
                    ones[over_tls] = connect(over_tls)
            answers += [plain.get(path, authority="127.0.0.1"), ciphered.get(path, authority="127.0.0.1", scheme="https")]
            first = answers[0]
            for other in answers[1:]:
                assert (other.status, other.body, fields_of(other)) == (first.status, first.body, fields_of(first)), path
    for one in ones.values():
        one.close()


@needs("curl")
def test_curl_agrees_on_http2_over_tls(make, transport, tmp_path):
    lines, secure = tls_lines(tmp_path)
    server_of(make, transport, lines)
    url = f"https://localhost:{secure.port}/"
    curl = ("curl", "-sf", "--cacert", secure.certificate)
    assert run(*curl, url + "big.bin") == BIG
    assert run(*curl, "-r", "100-199", url + "big.bin") == BIG[100:200]
    for wanted, flags in (("2", []), ("2", ["--tls-max", "1.2"]), ("1.1", ["--http1.1"]), ("1.1", ["--no-alpn"])):
        assert run(*curl, *flags, "-o", "/dev/null", "-w", "%{http_version}", url + "a.txt").decode() == wanted, flags


@needs("h2load")
def test_h2load_over_tls(make, transport, tmp_path):
    lines, secure = tls_lines(tmp_path)
    server_of(make, transport, lines)
    said = run("h2load", "-n", "2000", "-c", "4", "-m", "32", f"https://127.0.0.1:{secure.port}/k.txt").decode()
    assert "2000 succeeded, 0 failed" in said and "Application protocol: h2" in said


def test_off_by_default(make):
    server = make(ONE_SITE, files={"a.txt": "a"})
    with server.connect() as connection:
        connection.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert connection.read_response().status == 505


def test_cleartext_is_switched_for_connections_to_come(make):
    server = make(ONE_SITE, files={"a.txt": "a"})
    with server.connect() as old:
        assert old.request("/a.txt").body == b"a"
        server.sysctl(http2__cleartext=1)
        assert old.request("/a.txt").body == b"a"
        with H2Client(server.port) as kept:
            assert kept.get("/a.txt").body == b"a"
            server.sysctl(http2__cleartext=0)
            with server.connect() as late:
                late.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
                assert late.read_response().status == 505
            assert kept.get("/a.txt").body == b"a"
        assert old.request("/a.txt").body == b"a"


def test_limits_are_those_of_http_1(make):
    server = server_of(make, None, "limits.head_bytes = 1k\n")
    with H2Client(server.port) as client:
        assert client.get("/a.txt", fields=[("x", "y" * 900)]).status == 200
        assert client.get("/a.txt", fields=[("x", "y" * 1000)]).status == 431
        assert client.get("/a.txt").status == 200, "the connection lives on"


def test_fifty_thousand_resets_end_the_connection_and_nobody_else(make):
    server = server_of(make, None)
    with H2Client(server.port) as other, H2Client(server.port) as attacker:
        block = attacker.block("/big.bin")
        try:
            for number in range(500):
                attacker.send(b"".join(frame(HEADERS, END_HEADERS | END_STREAM, s, block) + frame(RST_STREAM, 0, s, bytes([0, 0, 0, CANCEL]))
                                       for s in range(200 * number + 1, 200 * number + 201, 2)))
        except OSError:
            pass  # it was closed
        assert attacker.wait_end() in (ENHANCE_YOUR_CALM, None)
        assert other.get("/a.txt").body == b"a"
    assert len(wait_reason(server, 74)) == 1


def test_a_ping_flood_is_told_to_calm_down(make):
    server = server_of(make, None, "http2.control_frames = 100\n")
    with H2Client(server.port) as client:
        client.send(frame(PING, 0, 0, b"12345678") * 200)
        assert client.wait_end() == ENHANCE_YOUR_CALM
    assert len(wait_reason(server, 73)) == 1


def test_a_malformed_request_is_reset_and_noted(make):
    server = server_of(make, None)
    with H2Client(server.port) as client:
        assert client.get("/a.txt", fields=[("transfer-encoding", "chunked")]).reset == PROTOCOL_ERROR
        assert client.get("/a.txt\r\nx: y").reset == PROTOCOL_ERROR
        assert client.get("/a.txt").body == b"a"
    assert len(wait_reason(server, 63)) == 1
    assert len(wait_reason(server, 57)) == 1


def test_connections_are_counted_not_streams(make):
    server = server_of(make, None, "limits.connections_per_client = 4\n")  # one may still be the one that waited for it to start
    with H2Client(server.port) as client:
        streams = [client.request("/a.txt") for _ in range(20)]
        client.wait(*streams)
        assert all(client.replies[s].body == b"a" for s in streams)


def memory_of(pid):
    return int(re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1])


def test_who_asks_for_much_and_reads_nothing_costs_little(make):
    """Twenty connections with windows without end, fifty answers of two megabytes each: what is not taken is not held."""
    server = server_of(make, None, "server.reactors = 1\n")
    front, clients = server.role("server"), []

    def ask():
        client = H2Client(server.port, settings=[(INITIAL_WINDOW_SIZE, 2**31 - 1)], receive_bytes=4096)
        client.send(frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\0\0"))
        for _ in range(50):
            client.request("/big.bin")
        clients.append(client)
        return client
    for _ in range(3):  # what is in use from now on
        ask()
    rests = lambda: wait_until(lambda: len(set(server.counter("bytes_out") for _ in range(5))) == 1, 20, what="nothing more is taken")
    rests()
    before = memory_of(front)
    for _ in range(20):
        ask()
    rests()
    with H2Client(server.port) as other:
        assert other.get("/a.txt").body == b"a"
    grown = memory_of(front) - before
    for client in clients:
        client.socket.close()
    assert grown < 20 * 50 * 24, f"{grown} KiB: what it takes to answer so many, and nothing of the 2 GB"


def test_an_idle_connection_is_closed_with_goaway(make):
    server = server_of(make, None, "limits.idle_timeout = 1s\n")
    with H2Client(server.port) as client:
        assert client.get("/a.txt").body == b"a"
        assert client.wait_end() == NO_ERROR


def test_stop_says_goaway_and_finishes(make):
    server = server_of(make, None)
    with H2Client(server.port) as client:
        client.windows = False
        stream = client.request("/big.bin")
        while len(client.replies[stream].body) < 65535:
            client.read_frame()
        server.process.terminate()
        while client.goaway is None:
            client.read_frame()
        assert client.goaway[1] == NO_ERROR
        client.windows = True
        client.send(frame(8, 0, 0, b"\0\x7f\0\0") + frame(8, 0, stream, b"\0\x7f\0\0"))
        assert client.wait(stream).body == BIG
        assert client.wait_end() == NO_ERROR


def test_an_upload_is_refused_before_it_is_sent(make):
    server = server_of(make, None)
    with H2Client(server.port) as client:
        stream = client.request("/a.txt", method="PUT", body=b"x" * 30000)
        assert client.wait(stream).status == 405
        assert client.get("/a.txt").body == b"a"
        client.send(frame(DATA, 0, 99, b""))
        assert client.wait_end() == PROTOCOL_ERROR
