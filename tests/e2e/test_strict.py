"""Issue §5, RD12: what is not exactly HTTP/1.1 is answered with its status, the connection ends, and the log has a record."""
import re

import pytest
from http_client import Closed, wait_until

FILES = {"a.txt": "a"}


def head(*lines):
    return "\r\n".join(("GET /{MARK} HTTP/1.1", "Host: x", *lines, "", "")).encode("latin-1")


def post(*lines, body=b""):
    return "\r\n".join(("POST /{MARK} HTTP/1.1", "Host: x", *lines, "", "")).encode("latin-1") + body


CHUNKED = "Transfer-Encoding: chunked"
BAD = {  # name: (bytes, status)
    # the request line
    "no version": (b"GET /{MARK}\r\n\r\n", 400),
    "two spaces": (b"GET  /{MARK} HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a space at its end": (b"GET /{MARK} HTTP/1.1 \r\nHost: x\r\n\r\n", 400),
    "a tab for a space": (b"GET\t/{MARK} HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a space before the method": (b" GET /{MARK} HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a method that is no token": (b"G@T /{MARK} HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a version with three digits": (b"GET /{MARK} HTTP/1.10\r\nHost: x\r\n\r\n", 400),
    "a version in small letters": (b"GET /{MARK} http/1.1\r\nHost: x\r\n\r\n", 400),
    "no such protocol": (b"GET /{MARK} HTCPCP/1.0\r\nHost: x\r\n\r\n", 400),
    "HTTP/2.0 in clear": (b"GET /{MARK} HTTP/2.0\r\nHost: x\r\n\r\n", 505),
    "HTTP/3.1": (b"GET /{MARK} HTTP/3.1\r\nHost: x\r\n\r\n", 505),
    "a control character in the target": (b"GET /{MARK}\x01 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a NUL in the target": (b"GET /{MARK}\x00 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a fragment in the target": (b"GET /{MARK}#f HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a target without a slash": (b"GET {MARK} HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "an asterisk for GET": (b"GET * HTTP/1.1\r\nHost: x\r\nX-M: {MARK}\r\n\r\n", 400),
    "an authority for GET": (b"GET x:80 HTTP/1.1\r\nHost: x\r\nX-M: {MARK}\r\n\r\n", 400),
    "TLS where HTTP is spoken": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03{MARK}\r\n\r\n", 400),
    # ends of lines
    "a bare LF after the request line": (b"GET /{MARK} HTTP/1.1\nHost: x\r\n\r\n", 400),
    "a bare LF after a field": (b"GET /{MARK} HTTP/1.1\r\nHost: x\nA: b\r\n\r\n", 400),
    "a bare LF for the empty line": (b"GET /{MARK} HTTP/1.1\r\nHost: x\r\n\n", 400),
    "a bare CR in a value": (head("A: b\rc"), 400),
    "a bare CR after the request line": (b"GET /{MARK} HTTP/1.1\rHost: x\r\n\r\n", 400),
    "CR CR LF": (b"GET /{MARK} HTTP/1.1\r\r\nHost: x\r\n\r\n", 400),
    # fields
    "white space before the colon": (head("A : b"), 400),
    "a tab before the colon": (head("A\t: b"), 400),
    "a folded line": (head("A: b", " c"), 400),
    "a tab-folded line": (head("A: b", "\tc"), 400),
    "white space before the first field": (b"GET /{MARK} HTTP/1.1\r\n Host: x\r\n\r\n", 400),
    "no colon": (head("Abc"), 400),
    "an empty name": (head(": b"), 400),
    "a name that is no token": (head("A(b): c"), 400),
    "a name beyond ASCII": (head("\xc4: c"), 400),
    "a NUL in a value": (head("A: b\x00c"), 400),
    "a control character in a value": (head("A: b\x07c"), 400),
    # Host
    "no Host": (b"GET /{MARK} HTTP/1.1\r\n\r\n", 400),
    "two Hosts": (head("Host: y"), 400),
    "two equal Hosts": (head("Host: x"), 400),
    "an empty Host": (b"GET /{MARK} HTTP/1.1\r\nHost:\r\n\r\n", 400),
    "a Host with a path": (b"GET /{MARK} HTTP/1.1\r\nHost: x/y\r\n\r\n", 400),
    "a Host with a user": (b"GET /{MARK} HTTP/1.1\r\nHost: u@x\r\n\r\n", 400),
    "a Host with a space": (b"GET /{MARK} HTTP/1.1\r\nHost: x y\r\n\r\n", 400),
    "a Host with a port that is no number": (b"GET /{MARK} HTTP/1.1\r\nHost: x:8o\r\n\r\n", 400),
    "a Host with a port too large": (b"GET /{MARK} HTTP/1.1\r\nHost: x:65536\r\n\r\n", 400),
    "a Host in a list": (b"GET /{MARK} HTTP/1.1\r\nHost: x, y\r\n\r\n", 400),
    "a Host with an open bracket": (b"GET /{MARK} HTTP/1.1\r\nHost: [::1\r\n\r\n", 400),
    # Content-Length
    "a length that is no number": (post("Content-Length: ten"), 400),
    "a length with a sign": (post("Content-Length: +3", body=b"abc"), 400),
    "a negative length": (post("Content-Length: -1"), 400),
    "a length in hexadecimal": (post("Content-Length: 0x3", body=b"abc"), 400),
    "a length with a space in it": (post("Content-Length: 1 0"), 400),
    "a length of 20 digits": (post("Content-Length: 99999999999999999999"), 400),
    "an empty length": (post("Content-Length:"), 400),
    "two lengths that differ": (post("Content-Length: 3", "Content-Length: 4", body=b"abcd"), 400),
    "two equal lengths": (post("Content-Length: 3", "Content-Length: 3", body=b"abc"), 400),
    "a list of lengths": (post("Content-Length: 3, 3", body=b"abc"), 400),
    # Transfer-Encoding
    "length and coding": (post("Content-Length: 5", CHUNKED, body=b"0\r\n\r\n"), 400),
    "coding and length": (post(CHUNKED, "Content-Length: 5", body=b"0\r\n\r\n"), 400),
    "chunked twice": (post("Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"), 400),
    "chunked on two lines": (post(CHUNKED, CHUNKED, body=b"0\r\n\r\n"), 400),
    "chunked not last": (post("Transfer-Encoding: chunked, gzip"), 400),
    "an unknown coding": (post("Transfer-Encoding: xchunked"), 501),
    "an unknown coding before chunked": (post("Transfer-Encoding: foo, chunked", body=b"0\r\n\r\n"), 501),
    "a vertical tab before chunked": (post("Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"), 400),
    "an empty coding": (post("Transfer-Encoding:"), 400),
    "a coding in HTTP/1.0": (b"POST /{MARK} HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
}


BAD_CHUNKS = {
    "a chunk size that is no number": b"g\r\n",
    "a chunk size with 0x": b"0x3\r\nabc\r\n0\r\n\r\n",
    "a chunk size with a sign": b"+3\r\nabc\r\n0\r\n\r\n",
    "a chunk size after a space": b" 3\r\nabc\r\n0\r\n\r\n",
    "a chunk size of 17 digits": b"10000000000000000\r\n",
    "an empty chunk size": b"\r\nabc\r\n",
    "a chunk size that ends in LF": b"3\nabc\r\n0\r\n\r\n",
    "chunk data without CRLF": b"3\r\nabcd\r\n0\r\n\r\n",
    "chunk data that ends in LF": b"3\r\nabc\n0\r\n\r\n",
    "a NUL in a chunk extension": b"3;a=\x00\r\nabc\r\n0\r\n\r\n",
    "a trailer with white space before its colon": b"0\r\nA : b\r\n\r\n",
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_is_refused_closed_and_logged(site, name):
    data, status = BAD[name]
    mark = "bad-" + re.sub(r"\W+", "-", name)
    with site.connect() as connection:
        connection.send(data.replace(b"{MARK}", mark.encode()))
        response = connection.read_response()
        assert response.status == status, name
        assert response["connection"].lower() == "close"
        assert connection.at_end(), "the connection stays open"


@pytest.mark.parametrize("name", BAD_CHUNKS)
def test_bad_chunks_are_refused_and_nothing_after_them_is_answered(site, name):
    """The answer is 400, or came before the body was read; in either case the connection ends with it."""
    with site.connect() as connection:
        connection.send("GET /a.txt HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        connection.send(BAD_CHUNKS[name] + b"GET /n/3.txt HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.read_response().status in (200, 400)
        assert connection.at_end(), "the connection stays open"


def test_every_refusal_is_one_record_with_its_own_cause(site):
    """No request line that was refused is silently dropped: counts are equal, and each cause has a number."""
    requests = {name: data for name, (data, status) in BAD.items() if not data.startswith(b"POST")}
    before = len(site.settled_records())
    for data in requests.values():
        with site.connect() as connection:
            connection.send(data.replace(b"{MARK}", b"counted"))
            connection.read_response()
            connection.at_end()
    records = wait_until(lambda: (lambda r: r if len(r) >= len(requests) else None)(site.records()[before:]),
                         what=f"{len(requests)} records")
    assert len(records) == len(requests)
    for record in records:
        assert str(record["status"]) in ("400", "501", "505")
        assert record["reason"] not in ("", "-", None)
    causes = {(str(r["status"]), str(r["substatus"])) for r in records}
    assert len(causes) >= 15, causes


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


@pytest.mark.parametrize("name", ["two lengths that differ", "length and coding", "a bare LF after a field", "a folded line",
                                  "no Host", "a NUL in a value"])
def test_bad_requests_byte_by_byte_are_refused_as_well(site, name):
    data, status = BAD[name]
    with site.connect() as connection:
        try:
            for byte in data.replace(b"{MARK}", b"slow"):
                connection.send(bytes([byte]))
        except OSError:
            pass  # refused before its end: the answer is there all the same
        assert connection.read_response().status == status


@pytest.mark.parametrize("second", [b"GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n", b"garbage"])
def test_nothing_after_a_refusal_is_answered(site, second):
    """What follows an ambiguous message may be a smuggled request: it is never looked at."""
    with site.connect() as connection:
        connection.send(BAD["two lengths that differ"][0].replace(b"{MARK}", b"x") + second)
        assert connection.read_response().status == 400
        with pytest.raises((Closed, ConnectionResetError)):
            connection.read_response()


def test_a_refusal_comes_after_the_answers_before_it(site):
    with site.connect() as connection:
        connection.send(b"GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n" * 3 + b"GET /a.txt HTTP/1.1\r\nBad Field: x\r\n\r\n")
        assert [connection.read_response().status for _ in range(4)] == [200, 200, 200, 400]
        assert connection.at_end()


# --- the URL, canonicalised exactly once (RD7–RD10) -------------------------------------------

REFUSED_TARGETS = {
    "/%": 400, "/%1": 400, "/%zz": 400, "/a%00b": 400, "/%u0041": 400, "/%U0041": 400,
    "/%c0%af": 400, "/%c0%ae%c0%ae/": 400, "/%e0%80%af": 400, "/%f0%80%80%af": 400, "/%c1%9c": 400, "/%ed%a0%80": 400, "/%f5%80%80%80": 400,
    "/%ff": 400, "/%c3": 400, "/\xff": 400, "/%01": 400, "/%1f": 400, "/%7f": 400, "/%c2%80": 400, "/%c2%9f": 400,
    "/a\\b": 400, "/a%5cb": 400, "/..%5c..%5cetc/passwd": 400, "/a%2fb": 400, "/a%2Fb": 400, "/..%2f..%2fetc/passwd": 400,
    "/..": 400, "/../": 400, "/../etc/passwd": 400, "/a/../../etc/passwd": 400, "/%2e%2e/etc/passwd": 400, "/.%2e/etc/passwd": 400, "/%2E%2E/": 400,
    "/a/b/../../../x": 400,
    "/%252e%252e/etc/passwd": 404, "/a%252fb": 404, "/%25%32%65": 404, "/..%255c": 404,
}


@pytest.mark.parametrize("target", REFUSED_TARGETS)
def test_a_target_that_could_mean_two_things_is_refused(site, target):
    response = site.fetch(target)
    assert response.status == REFUSED_TARGETS[target]
    assert b"root:" not in response.body


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
