"""Issue §5, RD12: what is not exactly HTTP/1.1 is answered with its status, the connection ends, and the log has one record."""
import ctypes
import os
import struct
from pathlib import Path

import pytest
from conftest import needs_root
from http_client import Closed
from instance import JSON_LOG, ONE_SITE, sub_statuses

FILES = {"a.txt": "a"}
GET, POST, CHUNKED = "GET /a.txt HTTP/1.1", "POST /a.txt HTTP/1.1", "Transfer-Encoding: chunked"


def request(*fields, line=GET, host="Host: x", body=b""):
    return "\r\n".join([line, *([host] if host else []), *fields, "", ""]).encode("latin-1") + body


def lines(*texts):
    return [request(line=text) for text in texts]


def fields(*texts):
    return [request(text) for text in texts]


def hosts(*texts):
    return [request(host=f"Host:{text}") for text in texts]


def lengths(*values):
    return [request("Content-Length:" + value, line=POST, body=b"abc") for value in values]


def codings(*values):
    return [request("Transfer-Encoding: " + value, line=POST, body=b"0\r\n\r\n") for value in values]


def two_lengths(*pairs):
    return [request(f"Content-Length: {a}", f"Content-Length: {b}", line=POST, body=b"abcd") for a, b in pairs]


def coding_with(other, *values, line=POST):
    """Both orders of a coding and another field."""
    return [request(*order, line=line, body=b"0\r\n\r\n") for value in values
            for order in ((other, "Transfer-Encoding: " + value), ("Transfer-Encoding: " + value, other))]


def chunks(*bodies):
    """A file, which could be answered without a look at the body, and a method that is not allowed."""
    return [request(CHUNKED, line=line, body=body) for line in (GET, POST) for body in bodies]


REFUSED = {  # status and sub-status: requests
    # the request line
    "400.20": lines(" " + GET, "\t" + GET, "GET\t/a.txt HTTP/1.1", "GET\x0b/a.txt HTTP/1.1", "G@T /a.txt HTTP/1.1", "\x80 / HTTP/1.1")
              + [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"],  # TLS
    "400.21": lines("GET /a.txt", "GET  /a.txt HTTP/1.1", "GET"),
    "400.22": lines("GET /a.txt\tHTTP/1.1", "GET /a.txt\x0bHTTP/1.1", "GET /a\x01 HTTP/1.1", "GET /a#f HTTP/1.1", "GET /a?b\x7f HTTP/1.1"),
    "400.23": lines("GET a.txt HTTP/1.1", "GET * HTTP/1.1", "GET x:80 HTTP/1.1", "GET ftp://x/ HTTP/1.1", "CONNECT /a HTTP/1.1", "OPTIONS *?a HTTP/1.1"),
    "400.24": lines("GET /a.txt HTTP/1.1 ", "GET /a.txt HTTP/1.1\t", "GET /a.txt  HTTP/1.1", "GET /a b HTTP/1.1", "GET /a.txt HTTP/1.10", "GET /a.txt HTTP/01.1",
                    "GET /a.txt HTTP/1", "GET /a.txt http/1.1", "GET /a.txt HTCPCP/1.0", "GET /a.txt HTTP/1.1 HTTP/1.1"),
    "505.0": lines("GET /a.txt HTTP/2.0", "GET /a.txt HTTP/3.1", "GET /a.txt HTTP/0.9", "GET /a.txt HTTP/9.9"),
    "505.2": [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
    # ends of lines
    "400.25": fields("A: b\rc", "A: b\r", f"A: b\r{CHUNKED}") + lines(GET + "\rX: y", GET + "\r") + [b"\r" + request()],
    "400.26": fields("A: b\nC: d", f"A: b\n{CHUNKED}") + lines(GET + "\nX: y")
              + [b"GET /a.txt HTTP/1.1\nHost: x\n\n", b"GET /a.txt HTTP/1.1\r\nHost: x\r\n\n", b"\n" + request()],
    "400.27": [b"\r\n" * 20 + request()],
    # fields
    "400.28": fields("A: b\0c", "A\0: b", "Transfer-Encoding: \0chunked", "Content-Length\0: 5") + lines("GET /\0 HTTP/1.1", "\0" + GET) + hosts(" x\0"),
    "400.29": fields("A: b\r\n c", "A: b\r\n\tc", "Transfer-Encoding:\r\n chunked", "A: b\r\n Transfer-Encoding: chunked", " Content-Length: 5")
              + [b"GET /a.txt HTTP/1.1\r\n Host: x\r\n\r\n"],
    "400.30": fields("A : b", "A\t: b", "A B: c", "Transfer-Encoding : chunked", "Content-Length\t: 5") + [request(host="Host : x")],
    "400.31": fields(": b"),
    "400.32": fields("A(b): c", "\xc4: c", "Transfer-Encoding\x0b: chunked", '"A": b'),
    "400.33": fields("Abc", "Transfer-Encoding\r\n : chunked"),
    "400.34": fields("A: b\x07c", "A: \x7f", "Transfer-Encoding: \x0bchunked", "Transfer-Encoding: chunked\x0c", "Content-Length: 3\x0b") + hosts(" x\x7f"),
    # Host
    "400.35": [request(host=None), request(line="GET http://x/a.txt HTTP/1.1", host=None)],
    "400.36": [request("Host: y"), request("Host: x"), request("hOST: x"), request("Host: y", line="GET /a.txt HTTP/1.0"),
               request("Host: x", line="GET http://x/a.txt HTTP/1.1")],
    "400.37": hosts("", " x/y", " u@x", " u:p@x", " x y", " x,y", " x:8o", " x:-1", " x:65536", " x:80:80", " x\\y", " x?y", " x#y", " [::1", " ::1", " [::1]x", " [::g]", " [1:2:3:4:5:6:7:8:9]",
                    " x%00y", " x%2fy", " \xe4", " x..y", " .x", " .", " http://x", " " + "a" * 300)
              + [request(line=f"GET http://{host}/a.txt HTTP/1.1") for host in ("u@x", "x:80x", "x:65536", "", "x y".replace(" ", "%20"))]
              + [request(host="Host: a b", line=line) for line in ("GET http://x/a.txt HTTP/1.1", "GET /a.txt HTTP/1.0")] + [request(host="Host:", line="GET /a.txt HTTP/1.0")],
    # Content-Length
    "400.38": lengths(" ten", " +3", " -1", " -0", " 0x3", " 3h", " 1 0", " 3\t3", " 3.0", " 1e1", " 3;a", ' "3"', " \xd9\xa3", " 3, 3", " 3,4", " ,3", " 3,", "", " ", " 9223372036854775808",
                      " 18446744073709551616", " 18446744073709551619", " 99999999999999999999"),
    "400.39": two_lengths((3, 3), (3, 4), (0, 3), (3, 0), (3, "x"), ("03", 3)),
    # Transfer-Encoding
    "400.40": coding_with("Content-Length: 5", "chunked", "CHUNKED", "identity", "gzip, chunked", "x", "", ", chunked"),
    "400.41": coding_with(CHUNKED, "chunked", "identity", "cow", "gzip", ""),
    "400.42": coding_with("A: b", "chunked", "gzip, chunked", "identity", "", line="POST /a.txt HTTP/1.0")
              + coding_with("Content-Length: 5", "chunked", line="POST /a.txt HTTP/1.0"),
    "400.43": codings("", ",", ", chunked"),
    "400.44": codings("chunked, chunked", "chunked, gzip", "chunked,", "chunked, identity"),
    "501.2": codings("xchunked", "chunkedx", "'chunked'", '"chunked"', "chunked;q=1", "chunked;", "chu nked", "gzip", "gzip, chunked", "identity", "identity, chunked", "\xa0chunked", "chunked\x85"),
    # chunks
    "400.45": chunks(b"\r\nabc\r\n", b"g\r\n", b"0x3\r\nabc\r\n", b"+3\r\nabc\r\n", b"-3\r\nabc\r\n", b" 3\r\nabc\r\n", b"3h\r\nabc\r\n", b"3_0\r\n", b"3,3\r\nabc\r\n", b"3.0\r\n", b";a\r\n", b"3\0\r\n"),
    "400.46": chunks(b"8000000000000000\r\n", b"ffffffffffffffff\r\n", b"10000000000000003\r\nabc\r\n", b"f" * 33 + b"\r\n", b"1\r\na\r\n7fffffffffffffff\r\n"),
    "400.47": chunks(b"3 \r\nabc\r\n", b"3\t\r\nabc\r\n", b"3;\r\nabc\r\n", b"3;a=\r\nabc\r\n", b"3;a=\0\r\nabc\r\n", b'3;a="b\r\nabc\r\n', b"3;;a\r\nabc\r\n", b"3;a b\r\nabc\r\n"),
    "400.48": chunks(b"3;" + b"a" * 5000 + b"\r\nabc\r\n", b"0" * 5000 + b"3\r\nabc\r\n"),
    "400.49": chunks(b"3\r\nabcd\r\n0\r\n\r\n", b"3\r\nabc\n0\r\n\r\n", b"3\r\nabc0\r\n\r\n", b"3\r\nab\r\n0\r\n\r\n", b"3\r\nabc\rx"),
    "400.50": chunks(b"3\nabc\r\n0\r\n\r\n", b"3\rabc\r\n", b"3;a=b\nabc\r\n", b'3;a="b\nabc\r\n', b"3;a\rb\r\nabc\r\n", b"0\n\r\n", b"3\r\r\nabc"),
    "400.51": chunks(b"0\r\n\n", b"0\r\nA : b\r\n\r\n", b"0\r\nA\r\n\r\n", b"0\r\n A: b\r\n\r\n", b"0\r\nA: b\r\n c\r\n\r\n", b"0\r\nA: \0\r\n\r\n", b"0\r\nA: b\n\r\n", b"0\r\n: b\r\n\r\n",
                     b"0\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"),
    "417.0": fields("Expect: miracles", "Expect: 100-continue, x", "Expect:"),
}
ROWS = [(expected, data) for expected, requests in REFUSED.items() for data in requests]
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


def send_whole(connection, data):
    connection.send(data)


def send_bytes(connection, data):
    for byte in data:
        connection.send(bytes([byte]))


@pytest.mark.parametrize("send", [send_whole, send_bytes])
def test_what_could_be_read_in_two_ways_is_refused_once_and_nothing_behind_it_is_looked_at(site, send):
    """Each with its own cause, one record, and the end of the connection, however TCP cuts it, with a request behind it."""
    assert len(ROWS) >= 300
    before, wrong = len(site.settled_records()), []
    for expected, data in ROWS:
        with site.connect() as connection:
            try:
                send(connection, data + SMUGGLED)
            except OSError:
                pass  # refused before its end: the answer is there all the same
            try:
                response = connection.read_response()
                seen = (response.status, response.get("connection"), connection.at_end())
            except (Closed, OSError) as error:
                seen = error
            if seen != (int(expected[:3]), "close", True):
                wrong.append((expected, data[-80:], seen))
    assert not wrong, wrong[:5]
    records = site.settled_records()[before:]
    assert sub_statuses(records) == [expected for expected, _ in ROWS]
    assert all(r["reason"] not in ("", "-", None) for r in records)


GOOD = {
    "CRLF before the request line": b"\r\nGET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n",
    "an absolute target": b"GET http://x/a.txt HTTP/1.1\r\nHost: y\r\n\r\n",
    "an absolute target with a port": b"GET http://x:8080/a.txt HTTP/1.1\r\nHost: x:8080\r\n\r\n",
    "white space round a value": b"GET /a.txt HTTP/1.1\r\nHost: \t x \t \r\n\r\n",
    "no space after the colon": b"GET /a.txt HTTP/1.1\r\nHost:x\r\n\r\n",
    "an empty value": b"GET /a.txt HTTP/1.1\r\nHost: x\r\nA:\r\n\r\n",
    "a value beyond ASCII": b"GET /a.txt HTTP/1.1\r\nHost: x\r\nA: \xc4\xff\r\n\r\n",
    "a Host with a port": b"GET /a.txt HTTP/1.1\r\nHost: x:65535\r\n\r\n",
    "a Host in brackets": b"GET /a.txt HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
    "names in any case": b"GET /a.txt HTTP/1.1\r\nhOsT: x\r\n\r\n",
    "a tab inside a value": b"GET /a.txt HTTP/1.1\r\nHost: x\r\nA: b\tc\r\n\r\n",
    "a length of zero": b"GET /a.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    "a body with GET": b"GET /a.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
    "a chunked body with GET": b"GET /a.txt HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;x=\"y\"\r\nabc\r\n0\r\nT: u\r\n\r\n",
    "chunked in any case": b"GET /a.txt HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: CHUNKED\r\n\r\nA\r\n0123456789\r\n000\r\n\r\n",
    "a later minor version": b"GET /a.txt HTTP/1.2\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("name", GOOD)
def test_what_is_allowed_is_answered_and_the_connection_lives(site, name):
    with site.connect() as connection:
        connection.send(GOOD[name])
        assert connection.read_response().status == 200
        assert connection.request("/a.txt").body == b"a"


@pytest.mark.parametrize("name", GOOD)
def test_any_segmentation_gives_the_same_answer(site, name):
    """Byte by byte: no parse depends on where TCP cuts."""
    with site.connect() as connection:
        for byte in GOOD[name]:
            connection.send(bytes([byte]))
        response = connection.read_response()
        assert response.status == 200 and response.body == b"a"
        assert connection.request("/a.txt").body == b"a"


def test_a_refusal_comes_after_the_answers_before_it(site):
    with site.connect() as connection:
        connection.send(b"GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n" * 3 + b"GET /a.txt HTTP/1.1\r\nBad Field: x\r\n\r\n")
        assert [connection.read_response().status for _ in range(4)] == [200, 200, 200, 400]
        assert connection.at_end()


# --- the URL, canonicalised exactly once (RD7–RD10) -------------------------------------------

REFUSED_TARGETS = {
    "400.60": ["/%", "/%1", "/%zz", "/%%41", "/a%4"], "400.61": ["/%u0041", "/%U0041", "/%u"], "400.64": ["/a%00b", "/%00"],
    "400.65": ["/%01", "/%1f", "/%7f", "/%0d%0aX:y", "/%c2%80", "/%c2%9f"], "400.66": ["/a%5cb", "/..%5c..%5cetc/passwd", "/a\\b"], "400.67": ["/a%2fb", "/a%2Fb", "/..%2f..%2fetc/passwd"],
    "400.68": ["/%ff", "/%c3", "/%c3/%a4", "/\xff", "/%80", "/%ed%a0%80", "/%f4%90%80%80", "/%f5%80%80%80", "/%f8%88%80%80%80"],
    "400.69": ["/%c0%af", "/%c0%ae%c0%ae/", "/%e0%80%af", "/%f0%80%80%af", "/%c1%9c", "/%e0%9f%bf", "/\xc0\xaf"],
    "400.70": ["/..", "/../", "/../etc/passwd", "/a/../../etc/passwd", "/%2e%2e/etc/passwd", "/.%2e/etc/passwd", "/%2E%2E/", "/a/b/../../../x", "/a/../../a/b", "//.."],
    "404.11": ["/%252e%252e/etc/passwd", "/a%252fb", "/%25%32%65", "/..%255c", "/%25u0041"],
}


def test_a_target_that_could_mean_two_things_is_refused_with_its_own_cause(site):
    rows = [(expected, target) for expected, targets in REFUSED_TARGETS.items() for target in targets]
    before = len(site.settled_records())
    for expected, target in rows:
        response = site.fetch(target)
        assert (response.status, b"root:" in response.body) == (int(expected[:3]), False), target
    assert list(zip(sub_statuses(site.settled_records()[before:]), (target for _, target in rows))) == rows


DECODED = [  # key, target, answer while it is off, file that is meant while it is on
    ("percent_u", "/%u00e4.txt", "400.61", "ä.txt"), ("percent_u", "/%uD83D%udca7.txt", "400.61", "💧.txt"), ("percent_u", "/%uFF0F.txt", "400.61", "\uff0f.txt"),
    ("non_utf8", "/%e4.txt", "400.68", "ä.txt"), ("non_utf8", "/\xe4.txt", "400.68", "ä.txt"), ("non_utf8", "/%80.txt", "400.68", "€.txt"),
    ("restricted_chars", "/a%01b.txt", "400.65", "a\x01b.txt"), ("restricted_chars", "/a%c2%85b.txt", "400.65", "a\x85b.txt"),
    ("double_escape", "/a%2541.txt", "404.11", "a%41.txt"),
]
REFUSED_ALWAYS = [("/a%00.txt", "400.64"), ("/%u0000", "400.64"), ("/%u002f", "400.67"), ("/%u005c", "400.66"), ("/%uD83D", "400.63"), ("/%u00", "400.62"), ("/%u002e%u002e/", "400.70"),
                  ("/%c0%af", "400.69"), ("/..%5c", "400.66"), ("/%2f", "400.67"), ("/%81.txt", "400.68")]


def test_decode_keys_act_live_and_let_in_no_more_than_they_say(make):
    server = make(ONE_SITE + JSON_LOG, files={name: name for *_, name in DECODED})
    expected = []
    with server.connect() as connection:
        for key, target, refusal, name in DECODED:
            assert server.fetch(target).status == int(refusal[:3]), target
            server.sysctl(**{f"decode__{key}": 1})
            assert connection.request(target).body.decode() == name, "on a connection that was open"
            server.sysctl(**{f"decode__{key}": 0})
            expected += [refusal, "200.0"]
    server.sysctl(**{f"decode__{key}": 1 for key, *_ in DECODED})
    for target, refusal in REFUSED_ALWAYS:
        assert server.fetch(target).status == int(refusal[:3]), target
    server.sysctl(decode__legacy_charset="iso-8859-1", decode__restricted_chars=0)
    assert server.fetch("/%e4.txt").body.decode() == "ä.txt"
    assert server.fetch("/%80.txt").status == 400, "U+0080 there"
    assert sub_statuses(server.settled_records()) == expected + [refusal for _, refusal in REFUSED_ALWAYS] + ["200.0", "400.65"]


class OpenWatch:
    """Every opening in some directories, and by whom (fanotify; root only)."""
    OPEN, ON_CHILD, ON_DIR, ADD, NONBLOCK, HERE = 0x20, 0x08000000, 0x40000000, 1, 2, -100

    def __init__(self, *directories):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.fd = self.libc.fanotify_init(self.NONBLOCK, os.O_RDONLY)
        if self.fd < 0:
            pytest.skip(f"no fanotify: {os.strerror(ctypes.get_errno())}")
        for directory in directories:
            done = self.libc.fanotify_mark(self.fd, self.ADD, ctypes.c_uint64(self.OPEN | self.ON_CHILD | self.ON_DIR), self.HERE, os.fsencode(directory))
            assert done == 0, os.strerror(ctypes.get_errno())

    def openings(self):
        """(process, path) of each since the last call."""
        seen = []
        while True:
            try:
                events = os.read(self.fd, 1 << 16)
            except BlockingIOError:
                return seen
            while events:
                size, _, _, _, _, fd, pid = struct.unpack_from("=IBBHQii", events)
                seen.append((pid, os.readlink(f"/proc/self/fd/{fd}")))
                os.close(fd)
                events = events[size:]


@needs_root
def test_no_spelling_of_a_traversal_opens_anything_outside_the_root(make, transport):
    """RD7: not told by answers alone, but by what the server's process opens."""
    server = make(files={"a/x.txt": "in", "secret.txt": "in"}, transport=transport)
    (server.dir / "secret.txt").write_text("out")
    watch = OpenWatch("/", "/etc", server.dir, server.www)
    dots = ["..", "%2e%2e", ".%2e", "%252e%252e", "%c0%ae%c0%ae", "%u002e%u002e", "..%00", "..%01", "...", "..;", "..%20", "%uff0e%uff0e", "\xc0\xae\xc0\xae"]
    slashes = ["/", "//", "/./", "\\", "%2f", "%5c", "%252f", "%255c", "%c0%af", "%c1%9c", "%u2215", "%%32%66", "/%2e/", ";/"]
    targets = [f"/{start}{dot}{slash}{goal}" for start in ("", "a/") for dot in dots for slash in slashes
               for goal in ("secret.txt", f"{dot}{slash}{dot}{slash}etc/passwd")]
    assert len(targets) >= 300
    server.sysctl(decode__percent_u=1, decode__non_utf8=1, decode__double_escape=1, decode__restricted_chars=1)  # as lax as it can be
    for target in targets:
        body = server.fetch(target).body
        assert body != b"out" and b"root:" not in body, target
    assert server.fetch("/secret.txt").body == b"in"
    opened = {path for pid, path in watch.openings() if pid == server.role("server")}
    assert str(server.www / "secret.txt") in opened, "the watch sees nothing"
    assert {path for path in opened if Path(path) != server.www and server.www not in Path(path).parents} == set()


EQUAL_TARGETS = ["/dir/f%20g.txt", "/dir/./f%20g.txt", "/dir/x/../f%20g.txt", "/%64ir/f%20g.txt", "//dir//f%20g.txt", "/dir/%2e/f%20g.txt",
                 "/dir/x/%2e%2e/f%20g.txt", "/./dir/f%20g.txt", "/dir/f%20g.tx%74", "/dir/f%20g.txt?a=/../b", "/dir/f%20g.txt?"]


@pytest.mark.parametrize("target", EQUAL_TARGETS)
def test_one_file_has_one_name_after_decoding(site, target):
    site.put("dir/f g.txt", "found")
    assert site.fetch(target).body == b"found"


@pytest.mark.parametrize("target, name", [("/%C3%A4.txt", "ä.txt"), ("/%E2%82%AC.txt", "€.txt"), ("/%F0%9F%92%A7.txt", "💧.txt"), ("/a+b.txt", "a+b.txt"),
                                          ("/a;b=c.txt", "a;b=c.txt"), ("/a'(b)!*,.txt", "a'(b)!*,.txt"), ("/~a@b:c$&.txt", "~a@b:c$&.txt")])
def test_names_beyond_ascii_and_with_marks_are_found(site, target, name):
    site.put(name, name)
    assert site.fetch(target).body == name.encode()
