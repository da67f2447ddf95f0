"""Issue §8: the access log in its four forms, one line a request whatever it holds, rotation, and disks that fail."""
import json
import re
import select
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest
from http_client import Closed, Connection, wait_until
from instance import BINARY, JSON_LOG, LONG, ONE_SITE


def log(form, more=""):
    """One reactor, so that the lines stand in the order of the requests."""
    return ONE_SITE + f"server.reactors = 1\nlog.access.format = {form}\nlog.access.path = {{LOGS}}/access.log\n" + more


def wait_lines(server, count, match="", name="access.log", seconds=5):
    def find():
        lines = [line for line in server.log_lines(name) if match in line and not line.startswith("#") and "/.ready" not in line]
        return lines if len(lines) >= count else None
    return wait_until(find, seconds, what=f"{count} lines; there are {len(server.log_lines(name))}")


def test_w3c_extended(make, transport):
    server = make(log("w3c"), files={"a.txt": "0123456789"}, transport=transport)
    server.fetch("/a.txt?q=1", fields=["User-Agent: Some Agent/1.0", "Referer: http://example.org/x"])
    line = wait_lines(server, 1, "/a.txt")[0]
    text = server.log_lines()
    assert any(l.startswith("#Version: 1.0") for l in text)
    fields = next(l for l in text if l.startswith("#Fields: ")).removeprefix("#Fields: ").split(" ")
    record = dict(zip(fields, line.split(" "), strict=True))
    assert record["c-ip"] == "127.0.0.1" and record["cs-method"] == "GET" and record["cs-uri-stem"] == "/a.txt" and record["cs-uri-query"] == "q=1"
    assert record["sc-status"] == "200" and record["cs(User-Agent)"] == "Some+Agent/1.0" and record["cs(Referer)"] == "http://example.org/x"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", record["date"]) and re.match(r"\d\d:\d\d:\d\d", record["time"])


def test_the_address_that_a_client_connected_to_is_named(make, transport):
    """A listener on a wildcard is asked for it only while a log wants it."""
    listen = "server.listen = 0.0.0.0:{PORT}\n"
    server = make(listen + log("w3c", "log.access.fields = s-ip s-port cs-uri-stem\n"), listen=False, transport=transport, files={"a.txt": "a"})
    hosts = [f"127.0.0.{number}" for number in range(1, 9)]
    for host in hosts:
        with Connection((host, server.port)) as connection:
            for number in range(3):
                assert connection.request(f"/a.txt?{number}").status == 200
    lines = wait_lines(server, 24, "/a.txt")
    assert sorted(lines) == sorted(f"{host} {server.port} /a.txt" for host in hosts for _ in range(3))
    server.sysctl(log__access__fields="cs-uri-stem")
    server.fetch("/unasked")
    wait_lines(server, 1, "/unasked")
    server.sysctl(log__access__fields="s-ip cs-uri-stem")
    with Connection((hosts[3], server.port)) as connection:
        connection.request("/asked-again")
    assert wait_lines(server, 1, "/asked-again") == [f"{hosts[3]} /asked-again"]


def test_the_time_that_a_client_takes_to_take_an_answer_is_named(make, transport):
    """All is handed over at once, and the client takes its time."""
    pause_s = 0.3
    server = make(log("json", "log.access.fields = cs-uri-stem time-taken x-time-send x-time-ack\ncache.admit_hits = 1\ncache.entry_max = 16m\n"), transport=transport,
                  files={"a.txt": "a", "large.bin": bytes(12_000_000), "piecemeal.bin": bytes(18_000_000)})
    for target in ("/a.txt", "/large.bin", "/large.bin"):  # it is in the cache, so in one piece
        server.fetch(target)
    for target in ("/large.bin", "/piecemeal.bin"):
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            client.connect(("127.0.0.1", server.port))
            client.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            client.recv(1)  # it was handed over, or its first piece
            time.sleep(pause_s)
            while client.recv(1 << 20):
                pass
    assert json.loads(wait_lines(server, 1, "/a.txt")[0])["ack_us"] == 0
    large = json.loads(wait_lines(server, 3, "/large.bin")[2])
    assert pause_s * 0.9e6 <= large["ack_us"] <= large["time_taken_ms"] * 1000 and large["send_us"] < large["ack_us"], large
    piecemeal = json.loads(wait_lines(server, 1, "/piecemeal.bin")[0])  # too large for the cache: what the last piece took is apart
    assert piecemeal["send_us"] > piecemeal["ack_us"] and piecemeal["send_us"] + piecemeal["ack_us"] >= pause_s * 0.9e6, piecemeal


def test_the_fields_are_a_key(make):
    server = make(log("w3c", "log.access.fields = cs-method sc-status sc-substatus\n"), files={"a.txt": "a"})
    server.fetch("/a.txt")
    server.fetch("/none")
    assert wait_lines(server, 3)[-2:] == ["GET 200 0", "GET 404 0"]  # before them are the fixture's own
    server.cli("sysctl", "-w", "log.access.fields=sc-status cs-uri-stem")
    server.fetch("/a.txt")
    wait_lines(server, 1, "200 /a.txt")
    assert [l for l in server.log_lines() if l.startswith("#Fields:")] == ["#Fields: cs-method sc-status sc-substatus", "#Fields: sc-status cs-uri-stem"]


NCSA = re.compile(r'(?P<host>\S+) - (?P<user>\S+) \[(?P<time>\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] "(?P<request>(?:[^"\\]|\\.)*)" '
                  r'(?P<status>\d{3}) (?P<bytes>\d+|-) "(?P<referer>(?:[^"\\]|\\.)*)" "(?P<agent>(?:[^"\\]|\\.)*)"')


def test_the_site_is_named_whoever_answered_for_it(make):
    """A hit asks for no site, and an entry outlives changes of the configuration that do not concern it."""
    server = make(log("w3c", "log.access.fields = s-sitename cs-uri x-cache\nsite.blog.hosts = blog.example\nsite.blog.root = {WWW}\n"),
                  files={"a.txt": "a"})
    for host in ("blog.example", "main.example"):
        with server.connect() as connection:
            for _ in range(4):
                connection.request("/a.txt", host=host)
            connection.request("/missing", host=host)
    server.sysctl(limits__fields="99")
    server.fetch("/a.txt", host="blog.example")
    lines = [line.split() for line in wait_lines(server, 11, match="/")]
    assert [line[0] for line in lines] == ["blog"] * 5 + ["main"] * 5 + ["blog"]
    assert [line[2] for line in lines].count("hit") >= 5


def test_ncsa_combined(make):
    server = make(log("ncsa"), files={"a.txt": "0123456789"})
    server.fetch("/a.txt?q=1", fields=['User-Agent: A "quoted" agent', "Referer: http://example.org/x"])
    record = NCSA.fullmatch(wait_lines(server, 1, "/a.txt")[0])
    assert record and record["request"] == "GET /a.txt?q=1 HTTP/1.1" and record["status"] == "200" and record["referer"] == "http://example.org/x"
    assert record["host"] == "127.0.0.1" and "quoted" in record["agent"]


def test_json_lines(make, transport):
    server = make(log("json"), files={"a.txt": "0123456789"}, transport=transport)
    server.fetch("/a.txt?q=1", fields=["User-Agent: Agent", "Referer: http://example.org/x"])
    server.fetch("/none")
    first, second = server.wait_records(2)[-2:]
    assert (first["method"], first["path"], str(first["status"]), first["client_ip"]) == ("GET", "/a.txt", "200", "127.0.0.1")
    assert int(first["bytes_out"]) >= 10 and float(first["time_taken_ms"]) >= 0 and first["user_agent"] == "Agent"
    assert str(second["status"]) == "404"


def test_binary_converts_to_every_form(make):
    server = make(log("binary"), files={"a.txt": "a"})
    for number in range(20):
        server.fetch(f"/a.txt?number={number}")
    path = server.logs / "access.log"

    def convert(form):
        done = subprocess.run([str(BINARY), "log", "convert", str(path), "--to", form, "--by", "start"], capture_output=True, text=True, timeout=20)
        assert done.returncode == 0, done.stderr
        return [line for line in done.stdout.splitlines() if "number=" in line]
    wait_until(lambda: path.exists() and path.stat().st_size > 0, what="the file's head")
    wait_until(lambda: len(convert("json")) == 20, what="records in the file")
    records = [json.loads(line) for line in convert("json")]
    assert [r["query"].lstrip("?") for r in records] == [f"number={n}" for n in range(20)]
    assert len(convert("w3c")) == 20 and len(convert("ncsa")) == 20
    assert all(NCSA.fullmatch(line) for line in convert("ncsa"))


def test_a_file_that_is_no_binary_log_is_named(tmp_path):
    path = tmp_path / "lines.log"
    path.write_text("#Software: penstock\n#Version: 1.0\n#Date: 2026-11-22\n")
    done = subprocess.run([str(BINARY), "log", "convert", str(path)], capture_output=True, text=True, timeout=20)
    assert done.returncode != 0 and done.stdout == ""
    assert f"{path}: not a binary access log" in done.stderr


INJECTION = [b"/a%0d%0ainjected%20line", b"/a%0Ainjected", b"/\xc3\xa4-raw", b"/a%22%20quoted", b"/a%5c", b"/%E2%80%A8line-separator", b"/%1b[31mred", b"/a%09tab",
             b"/#", b"/a?b=%0d%0ac", b"/a?\"b\\c\"", b"/a,b;c|d`e$(f)"]
HEADERS = [b'User-Agent: a"b\\c\td e', b"User-Agent: \xff\xfe\x80", b"User-Agent: #Fields: evil", b'Referer: ","sc-status":"999"', b"User-Agent: " + b"x" * 8000,
           b"Referer: \xe2\x80\xa8\xc2\x85", b"User-Agent: -", b"User-Agent:"]


@pytest.mark.parametrize("form", ["w3c", "ncsa", "json"])
def test_one_request_is_one_line_whatever_it_holds(make, form):
    server = make(log(form), files={"a": "a"})
    sent = 0
    for target in INJECTION + [b"/plain"]:
        for header in HEADERS if target == b"/plain" else HEADERS[:1]:
            with server.connect() as connection:
                connection.send(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n" + header + b"\r\nConnection: close\r\n\r\n")
                try:
                    connection.read_response()
                except Closed:
                    pass
            sent += 1

    def logged():
        """UTF-8 whatever came in; without what is not of the requests above."""
        raw = (server.logs / "access.log").read_bytes().decode("utf-8") if (server.logs / "access.log").exists() else ""
        cut = raw.split("\n")[:-1] if form == "json" else raw.splitlines()
        return [line for line in cut if not line.startswith("#") and "/.ready" not in line]
    wait_until(lambda: len(logged()) >= sent and server.status()["journal"]["bytes_waiting"] == 0, what="all records")
    lines = logged()
    assert len(lines) == sent, lines
    for line in lines:
        assert not re.search(r"[\x00-\x08\x0a-\x1f\x7f]", line)
        if form == "json":
            record = json.loads(line)
            assert str(record["status"]) != "999"
        elif form == "ncsa":
            assert NCSA.fullmatch(line), line
        else:
            assert len(line.split(" ")) == len(lines[0].split(" ")), line


def test_every_request_of_a_load_is_one_record(make, transport):
    server = make(log("json"), files={"a.txt": "a"}, transport=transport)
    counts = []

    def ask(worker):
        with Connection(server.port) as connection:
            for number in range(1000):
                connection.request(f"/a.txt?{worker}-{number}")
        counts.append(1)

    threads = [threading.Thread(target=ask, args=(w,)) for w in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(counts) == 4
    records = server.wait_records(4000, seconds=10)
    assert sorted(r["query"].lstrip("?") for r in records) == sorted(f"{w}-{n}" for w in range(4) for n in range(1000))


MALFORMED = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET / HTTP/9.9\r\n\r\n", b"GET /\r\n\r\n", b"\0\0\0\0\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", b"GET / HTTP/1.1\nHost: x\n\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", b"GET /\x01 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", b"G" * 300, b"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x",
]


def test_each_malformed_connection_leaves_one_record(make, transport):
    """VH2, LG3: nothing is dropped silently. The long form is the bar, 10^6 connections on two transports."""
    count = 500_000 if LONG else 1000
    server = make(log("w3c", "log.access.fields = x-connection sc-status x-reason-name\n"), transport=transport)
    wait_lines(server, 1)
    server.cli("sysctl", "-w", f"log.access.path={server.logs}/counted.log")
    reset = struct.pack("ii", 1, 0)
    for number in range(count):
        with socket.create_connection(("127.0.0.1", server.port), 30) as client:
            client.sendall(MALFORMED[number % len(MALFORMED)])
            client.shutdown(socket.SHUT_WR)
            while client.recv(4096):
                pass
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)  # no port rests for a minute
    def lines():
        return [line for line in server.log_lines("counted.log") if not line.startswith("#")]
    wait_until(lambda: len(lines()) >= count, 60, every=0.1, what=f"{count} records")
    records = [line.split(" ") for line in lines()]
    assert len(records) == count == len({record[0] for record in records})
    assert len({record[2] for record in records}) >= 10 and all(record[1] != "200" for record in records)
    assert server.counter("journal_drops") == 0


def test_records_can_be_put_in_order_of_start_and_of_finish(make, transport):
    """LG4, over several reactors: long requests that began first and ended last, in the other order, stand where they belong in both."""
    server = make(log("json", "log.access.fields = cs-uri x-reactor x-seq-start x-seq-finish x-start x-finish\n").replace("reactors = 1", "reactors = 3"),
                  files={"big.bin": b"x" * (16 << 20), "a.txt": "a"}, transport=transport)
    slow = [server.connect() for _ in range(2)]
    for number, connection in enumerate(slow):
        connection.send(f"GET /big.bin?{number} HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.fill()
    connections = [server.connect() for _ in range(24)]
    for number in range(72):
        connections[number % 24].request(f"/a.txt?{number}")
    for connection in reversed(slow):
        connection.read_response()
    records = [record for record in server.wait_records(75) if "ready" not in record["uri"]]
    for connection in slow + connections:
        connection.close()
    assert len({record["reactor"] for record in records}) > 1
    small = [f"/a.txt?{number}" for number in range(72)]

    def order(*fields):
        return [record["uri"] for record in sorted(records, key=lambda record: [record[field] for field in fields])]
    assert order("start_ns", "reactor", "seq_start") == ["/big.bin?0", "/big.bin?1", *small]
    assert order("finish_ns", "reactor", "seq_finish") == [*small, "/big.bin?1", "/big.bin?0"]


# --- rotation ---------------------------------------------------------------------------------


def all_records(server):
    """Those of all files, in whole lines; none while a file is renamed or removed under our eyes."""
    try:
        texts = [path.read_text() for path in sorted(server.logs.iterdir())]
    except FileNotFoundError:
        return []
    lines = [line for text in texts for line in text[:text.rfind("\n") + 1].splitlines()]
    return [json.loads(line) for line in lines if line.startswith("{") and "/.ready" not in line]


def test_rotation_by_size_loses_nothing_and_keeps_what_it_should(make):
    server = make(log("json", "log.access.rotate_bytes = 20k\n"), files={"a.txt": "a"})
    with server.connect() as connection:
        for number in range(600):
            connection.request(f"/a.txt?{number}")
    wait_until(lambda: len(all_records(server)) >= 600)
    files = sorted(server.logs.iterdir())
    assert len(files) >= 4 and all(f.stat().st_size <= 24 << 10 for f in files)
    assert sorted(int(r["query"].lstrip("?")) for r in all_records(server)) == list(range(600))
    server.cli("sysctl", "-w", "log.access.keep=2")
    with server.connect() as connection:
        for number in range(300):
            connection.request(f"/a.txt?{number}")
    wait_until(lambda: len(list(server.logs.iterdir())) <= 3, what="older files are gone")


def test_rotation_by_command(make):
    server = make(log("json"), files={"a.txt": "a"})
    server.fetch("/a.txt?before")
    server.wait_records(1)
    server.cli("log", "rotate")
    server.fetch("/a.txt?after")
    wait_until(lambda: "after" in (server.logs / "access.log").read_text())
    assert "before" not in (server.logs / "access.log").read_text()
    rotated = [p for p in server.logs.iterdir() if p.name != "access.log"]
    assert len(rotated) == 1 and "before" in rotated[0].read_text()


def test_a_log_that_somebody_moved_away_is_made_anew_on_sighup(make):
    server = make(log("json"), files={"a.txt": "a"})
    server.fetch("/a.txt?before")
    server.wait_records(1)
    (server.logs / "access.log").rename(server.logs / "moved.log")
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: server.fetch("/a.txt?after") and (server.logs / "access.log").exists(), what="a new file")
    wait_until(lambda: "after" in (server.logs / "access.log").read_text())


def test_format_and_path_change_live(make):
    server = make(log("json"), files={"a.txt": "a"})
    server.fetch("/a.txt?one")
    server.wait_records(1)
    server.cli("sysctl", "-w", "log.access.format=ncsa", f"log.access.path={server.logs}/other.log")
    server.fetch("/a.txt?two")
    assert NCSA.fullmatch(wait_lines(server, 1, "two", name="other.log")[0])
    server.cli("sysctl", "-w", "log.access.format=none")
    size = (server.logs / "other.log").stat().st_size
    server.fetch("/a.txt?three")
    time.sleep(0.5)
    assert (server.logs / "other.log").stat().st_size == size


# --- no file ------------------------------------------------------------------------------------


def test_a_path_that_cannot_be_written_is_said(make):
    server = make(ONE_SITE + "log.access.format = json\nlog.access.path = /proc/nowhere/access.log\n", files={"a.txt": "a"}, start=False)
    server.start(wait=False)
    wait_until(lambda: "/proc/nowhere/access.log" in server.output(), seconds=8)


def test_the_default_writes_no_file(make):
    server = make(ONE_SITE + JSON_LOG.replace("json", "none"), files={"a.txt": "a"})
    server.fetch("/a.txt")
    time.sleep(0.3)
    assert list(server.logs.iterdir()) == []


def test_the_log_is_followed_live_without_a_change_of_configuration(make):
    server = make(log("w3c"), files={"a.txt": "a"})
    generation = server.generation()
    follow = subprocess.Popen([BINARY, "log", "follow", "--where", "status>=400", "--where", "method=GET", "--format", "json",
                               "--fields", "sc-status,cs-uri-stem", "--control", server.control], stdout=subprocess.PIPE, text=True)
    try:
        def seen():  # until it follows, what is asked for is not shown
            server.fetch("/missing-first")
            return bool(select.select([follow.stdout], [], [], 0.05)[0])
        wait_until(seen, what="the first line")
        server.fetch("/a.txt")
        server.fetch("/missing-last")
        lines = []
        while not lines or lines[-1]["path"] != "/missing-last":
            lines.append(json.loads(follow.stdout.readline()))
        assert {line["status"] for line in lines} == {404} and {line["path"] for line in lines} == {"/missing-first", "/missing-last"}
        assert server.generation() == generation
        wrong = server.cli("log", "follow", "--where", "status>=x", check=False)
        assert wrong.returncode == 1 and "a number is compared with a number" in wrong.stderr
        server.sysctl(log__access__format="none")
        without = server.cli("log", "follow", check=False)
        assert without.returncode == 1 and "log.access.format" in without.stderr
        server.stop()
        assert follow.wait(10) == 1
    finally:
        follow.kill()
        follow.wait()
