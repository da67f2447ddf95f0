"""Issue 5 §2: applications over HTTP/2: nothing is smuggled to them, bodies of any length, answers of every kind."""
import subprocess
import threading

import pytest
from conftest import needs

pytest.importorskip("hpack")
from demo import FEATURES, needs_pools  # noqa: E402
from h2_client import DATA, END_HEADERS, END_STREAM, HEADERS, PROTOCOL_ERROR, H2Client, frame  # noqa: E402
from instance import tls_lines  # noqa: E402
from test_pools_life import config  # noqa: E402
from test_pools_overrun import instance  # noqa: E402
from test_pools_streams import GROWTH_MAX, STREAMS, UPLOAD, Watch, fetch  # noqa: E402

pytestmark = [needs_pools, pytest.mark.skipif(not FEATURES["http/2"]["available"], reason="this build does not speak HTTP/2")]
CLEARTEXT = "http2.cleartext = 1\n"
UPLOAD_MIB = 64


@pytest.mark.parametrize("runtime", ["cgi", "fastcgi", "wsgi"])
def test_an_application_is_told_the_same_over_both_versions(make, runtime):
    """No name or value makes a variable that the server did not mean (RFC 3875 section 4.1.18)."""
    server = instance(make, runtime, CLEARTEXT)
    fields = [("proxy", "evil"), ("x-a", "right"), ("x_a", "odd"), ("content_length", "9"), ("x-b", "1"), ("x-b", "2"), ("cookie", "a=1; b=2"),
              ("user-agent", "=;,\"'\\"), ("x-empty", "")]
    with server.connect(timeout=20) as one:
        before = one.request("/app/x?all", host="127.0.0.1", fields=[f"{name}: {value}" for name, value in fields])
    with H2Client(server.port, timeout=20) as two:
        after = two.get("/app/x?all", authority="127.0.0.1", fields=fields)
        assert (after.status, after.body.decode()) == (200, before.body.decode()) and before.status == 200
        names = [line.partition("=")[0] for line in after.body.decode().splitlines()]
        assert "HTTP_X_A" in names and "HTTP_HOST" in names and len(set(names)) == len(names)
        assert "evil" not in after.body.decode() and "odd" not in after.body.decode() and "HTTP_CONTENT_LENGTH" not in names
        crumbs = two.get("/app/x?all", authority="127.0.0.1", fields=[f if f[0] != "cookie" else ("cookie", "a=1") for f in fields] + [("cookie", "b=2")])
        assert "HTTP_COOKIE=a=1; b=2" in crumbs.body.decode().splitlines(), "RFC 9113 section 8.2.3"
        same = two.get("/app/x?all", authority="127.0.0.1", fields=[("host", "127.0.0.1")])
        assert same.body.decode().count("HTTP_HOST=127.0.0.1") == 1
        for smuggled in ([("host", "other")], [("host", "127.0.0.1"), ("host", "127.0.0.1x")], [("content-length", "5"), ("content-length", "5")],
                         [("x-c", "1\r\nproxy: evil")], [("x-c\n", "1")], [("transfer-encoding", "chunked")], [("te", "chunked")], [("connection", "x-a")],
                         [("X-Upper", "1")], [(":path", "/other")], [("x c", "1")]):
            assert two.get("/app/x?all", authority="127.0.0.1", fields=smuggled).reset == PROTOCOL_ERROR, smuggled
        assert two.get("/app/x?all", authority="127.0.0.1").status == 200


def without(variables, *names):
    return sorted(line for line in variables.splitlines() if line.partition("=")[0] not in names)


def test_trailers_of_a_request_end_at_the_server(make):
    """No application's protocol has a place for them: with a length or without, by either version, it is told what it would be without them."""
    server = instance(make, "cgi", CLEARTEXT)

    def over_h2(body, fields, trailers):
        stream = two.request("/app/x?all", method="POST", authority="127.0.0.1", fields=fields, body=body, open_end=bool(trailers))
        if trailers:
            two.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, two.encoder.encode(trailers, huffman=False)))
        return two.wait(stream)

    with server.connect(timeout=20) as one, H2Client(server.port, timeout=20) as two:
        chunked = "POST /app/x?all HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n"
        one.send(chunked + "X-Sum: 1\r\nCookie: a=1\r\n\r\n")
        first = one.read_response()
        assert first.status == 200
        told = without(first.body.decode(), "SERVER_PROTOCOL", "CONTENT_LENGTH")
        assert not [line for line in told if line.startswith(("HTTP_X_SUM", "HTTP_COOKIE"))]
        for fields in ([], [("content-length", "3")]):
            for trailers in ([], [("x-sum", "1"), ("cookie", "a=1")]):
                reply = over_h2(b"abc", fields, trailers)
                assert reply.status == 200 and without(reply.body.decode(), "SERVER_PROTOCOL", "CONTENT_LENGTH") == told, (fields, trailers)
        assert over_h2(b"abc", [], [("content-length", "9")]).reset == PROTOCOL_ERROR, "what frames a message cannot come behind it"
        assert over_h2(b"abc", [], []).status == 200
    server = make(config("request_timeout=0", app=UPLOAD) + CLEARTEXT)
    with H2Client(server.port, timeout=20) as two:
        plain = two.get("/app/x?all", method="POST", authority="127.0.0.1", body=b"abc")
        assert b"3 bytes" in plain.body and over_h2(b"abc", [], [("x-sum", "1")]).body == plain.body


def curl(*arguments, **options):
    return subprocess.run(["curl", "-sS", "--http2-prior-knowledge", *arguments], capture_output=True, timeout=120, check=True, **options).stdout.decode()


def uploads(server, file, over):
    """Many at once, with a length or without, over TLS or not; what each was answered."""
    said = []
    url = f"https://localhost:{over.port}/app/up" if over else f"http://127.0.0.1:{server.port}/app/up"
    flags = ["--cacert", over.certificate] if over else []

    def one(number):
        with open(file, "rb") as body:  # from a pipe curl cannot know the length
            said.append(curl(*flags, "-X", "POST", "-T", str(file) if number % 2 else "-", url, **({} if number % 2 else {"stdin": body})))
    threads = [threading.Thread(target=one, args=(n,)) for n in range(STREAMS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(said) == STREAMS
    return set(said)


@needs("curl")
def test_uploads_of_any_length_go_with_credit_and_cost_no_memory(make, tmp_path):
    lines, secure = tls_lines(tmp_path)
    server = make(config("request_timeout=0", app=UPLOAD) + "site.main.limits.body_bytes = 1g\n" + CLEARTEXT + lines)
    body = tmp_path / "body"
    body.write_bytes(bytes(range(256)) * (UPLOAD_MIB << 12))
    url = f"http://127.0.0.1:{server.port}/app/up"
    want = subprocess.run(["curl", "-sS", "--http1.1", "-X", "POST", "-T", str(body), url], capture_output=True, timeout=120, check=True).stdout.decode()
    assert f"{UPLOAD_MIB << 20} bytes, hash" in want
    for over in (None, secure):
        uploads(server, body, over)  # the buffers that all streams share are in memory from here on
        with Watch(server.role("server")) as watch:
            assert uploads(server, body, over) == {want}
        assert watch.growth <= GROWTH_MAX, watch.growth


def test_the_client_that_waits_for_100_is_told_to_go_on(make):
    server = make(config(app=UPLOAD) + CLEARTEXT)
    with H2Client(server.port, timeout=20) as client:
        stream = client.take_stream()
        client.send(frame(HEADERS, END_HEADERS, stream, client.block("/app/up", "POST", [("expect", "100-continue"), ("content-length", "5")])))
        while not client.replies[stream].heads:
            client.read_frame()
        assert client.replies[stream].status == 100
        client.send(frame(DATA, END_STREAM, stream, b"12345"))
        reply = client.wait(stream)
        assert reply.status == 200 and b"5 bytes, hash" in reply.body
        assert "connection" not in reply.fields and "transfer-encoding" not in reply.fields


def test_head_and_answers_without_length(make):
    server = make(config() + CLEARTEXT)
    assert fetch(server.port, "/app/who").status == 200
    with H2Client(server.port, timeout=20) as client:
        whole, head = client.get("/app/who"), client.get("/app/who", method="HEAD")
        assert (head.status, head.body) == (200, b"") and whole.body
        stream = client.request("/app/stream")  # without end: flow control holds it, and a reset ends it
        while len(client.replies[stream].body) < 300_000:
            client.read_frame()
        client.send(frame(3, 0, stream, b"\0\0\0\x08"))
        assert client.get("/app/who").status == 200
