"""Issue §6, CR1, CR2: RFC 9110 §13's precedence and §14's ranges, from the file and from the cache alike."""
import email.utils
import os
import random
import re

import pytest
from http_client import wait_until

BODY = b"0123456789" * 100
MTIME = 1_600_000_000
BEFORE, SAME, AFTER = (email.utils.formatdate(MTIME + d, usegmt=True) for d in (-10, 0, 10))
CONFIG = "cache.admit_hits = 2\ncache.settle = 0ms\n"


def prepare(instance):
    for name in ("a.bin", "cached.bin"):
        os.utime(instance.put(name, BODY), (MTIME, MTIME))


@pytest.fixture(params=["file", "cache"])
def ask(site, request):
    """Asks for one entity: fresh names keep the cache out, a warmed name keeps it in."""
    if request.param == "cache":
        for _ in range(4):
            site.fetch("/cached.bin")
        target = "/cached.bin"
    else:
        site.cli("cache", "purge", "all")
        target = "/a.bin"

    def asker(*fields, method="GET"):
        if request.param == "file":
            site.cli("cache", "purge", "all")
        return site.fetch(target, method=method, fields=fields)
    asker.etag = site.fetch(target)["etag"]
    return asker


def test_validators_are_sent(ask):
    response = ask()
    assert response["last-modified"] == SAME
    assert re.fullmatch(r'"[!#-~\x80-\xff]+"', response["etag"])
    assert response["accept-ranges"] == "bytes"


# (fields, status); E the entity's tag, W its weak form, X another
TABLE = [
    # If-None-Match
    (["If-None-Match: E"], 304), (["If-None-Match: W/E"], 304), (["If-None-Match: X"], 200), (["If-None-Match: *"], 304),
    (["If-None-Match: X, E"], 304), (["If-None-Match: X , W/E , X"], 304), (["If-None-Match: X", "If-None-Match: E"], 304), (["If-None-Match: X, X"], 200),
    # If-Modified-Since
    ([f"If-Modified-Since: {SAME}"], 304), ([f"If-Modified-Since: {AFTER}"], 304), ([f"If-Modified-Since: {BEFORE}"], 200),
    (["If-Modified-Since: rubbish"], 200), (["If-Modified-Since: Sunday, 13-Sep-20 12:26:50 GMT"], 304), (["If-Modified-Since: Sun Sep 13 12:26:50 2020"], 304),
    # If-None-Match hides If-Modified-Since
    (["If-None-Match: E", f"If-Modified-Since: {BEFORE}"], 304), (["If-None-Match: X", f"If-Modified-Since: {AFTER}"], 200),
    # If-Match
    (["If-Match: E"], 200), (["If-Match: X"], 412), (["If-Match: *"], 200), (["If-Match: W/E"], 412), (["If-Match: X, E"], 200),
    # If-Unmodified-Since
    ([f"If-Unmodified-Since: {SAME}"], 200), ([f"If-Unmodified-Since: {AFTER}"], 200), ([f"If-Unmodified-Since: {BEFORE}"], 412),
    (["If-Unmodified-Since: rubbish"], 200),
    # If-Match hides If-Unmodified-Since
    (["If-Match: E", f"If-Unmodified-Since: {BEFORE}"], 200), (["If-Match: X", f"If-Unmodified-Since: {AFTER}"], 412),
    # the first pair goes before the second
    (["If-Match: E", "If-None-Match: E"], 304), (["If-Match: X", "If-None-Match: E"], 412), (["If-Match: E", "If-None-Match: X"], 200),
    ([f"If-Unmodified-Since: {BEFORE}", f"If-Modified-Since: {AFTER}"], 412), ([f"If-Unmodified-Since: {AFTER}", f"If-Modified-Since: {AFTER}"], 304),
    (["If-Match: E", f"If-Modified-Since: {AFTER}"], 304), ([f"If-Unmodified-Since: {BEFORE}", "If-None-Match: E"], 412),
    # with ranges: conditions first
    (["Range: bytes=0-0", "If-None-Match: E"], 304), (["Range: bytes=0-0", "If-None-Match: X"], 206), (["Range: bytes=0-0", "If-Match: X"], 412),
    (["Range: bytes=0-0", "If-Match: E"], 206), (["Range: bytes=0-0", f"If-Modified-Since: {SAME}"], 304), (["Range: bytes=5000-", "If-None-Match: E"], 304),
    # If-Range
    (["Range: bytes=0-0", "If-Range: E"], 206), (["Range: bytes=0-0", "If-Range: X"], 200), (["Range: bytes=0-0", "If-Range: W/E"], 200),
    (["Range: bytes=0-0", f"If-Range: {SAME}"], 206), (["Range: bytes=0-0", f"If-Range: {AFTER}"], 200), (["Range: bytes=0-0", f"If-Range: {BEFORE}"], 200),
    (["Range: bytes=5000-", "If-Range: X"], 200), (["Range: bytes=5000-", "If-Range: E"], 416), (["If-Range: E"], 200), (["If-Range: X"], 200),
    (["Range: bytes=0-0", "If-Range: E", "If-None-Match: X"], 206), (["Range: bytes=0-0", "If-Range: X", "If-None-Match: E"], 304),
]


@pytest.mark.parametrize("fields, status", TABLE, ids=lambda value: " + ".join(value) if isinstance(value, list) else str(value))
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_precedence_of_conditions(ask, fields, status, method):
    lines = [line.replace("W/E", "W/" + ask.etag).replace(": E", ": " + ask.etag).replace(", E", ", " + ask.etag).replace(", X", ', "other"').replace(": X", ': "other"')
             .replace(" X ", ' "other" ') for line in fields]
    response = ask(*lines, method=method)
    if method == "HEAD" and status in (206, 416):
        status = 200  # Range is for GET only (RFC 9110 §14.2)
    assert response.status == status
    if status == 304:
        assert response["etag"] == ask.etag and response.body == b""
        assert response.get("content-length") in (None, str(len(BODY)))
    if status == 200 and method == "GET":
        assert response.body == BODY


RANGES = [  # (range, first, last) of one part; None: not satisfiable
    ("0-0", 0, 0), ("0-", 0, 999), ("1-2", 1, 2), ("990-", 990, 999), ("0-999", 0, 999), ("0-5000", 0, 999), ("999-999", 999, 999), ("999-99999999999999999999", 999, 999),
    ("-1", 999, 999), ("-1000", 0, 999), ("-5000", 0, 999), ("0-1 ", 0, 1), ("0-1,", 0, 1), (",0-1", 0, 1),
    ("1000-", None, None), ("1000-1001", None, None), ("-0", None, None), ("99999999999999999999-", None, None),
]


@pytest.mark.parametrize("text, first, last", RANGES)
def test_one_range(ask, text, first, last):
    response = ask("Range: bytes=" + text)
    if first is None:
        assert response.status == 416 and response["content-range"] == "bytes */1000"
    else:
        assert response.status == 206 and response["content-range"] == f"bytes {first}-{last}/1000"
        assert response.body == BODY[first:last + 1] and response["content-length"] == str(last - first + 1)


@pytest.mark.parametrize("text", ["bytes=", "bytes=-", "bytes=a-b", "bytes=5-4", "bytes=1", "bytes 0-1", "lines=0-1", "0-1", "bytes=0-1-2", "bytes=0-0;1-1"])
def test_a_range_that_is_none_is_not_guessed_at(ask, text):
    response = ask("Range: " + text)
    assert response.status in (200, 400, 416)  # "ignore or reject" (RFC 9110 §14.2)
    assert response.status != 200 or response.body == BODY


def parts_of(response):
    """(first, last, bytes) of each part; neighbours that were joined into one may come as a plain range."""
    if response.get("content-range") is not None:
        match = re.fullmatch(r"bytes (\d+)-(\d+)/1000", response["content-range"])
        return [(int(match[1]), int(match[2]), response.body)]
    boundary = re.fullmatch(r'multipart/byteranges; boundary="?([^"]+)"?', response["content-type"])[1].encode()
    pieces = response.body.split(b"--" + boundary)
    assert pieces[0] in (b"", b"\r\n") and pieces[-1].rstrip(b"\r\n") == b"--"
    parts = []
    for piece in pieces[1:-1]:
        head, _, body = piece.partition(b"\r\n\r\n")
        match = re.search(rb"Content-Range: bytes (\d+)-(\d+)/1000", head, re.I)
        assert body.endswith(b"\r\n") and re.search(rb"Content-Type: ", head, re.I)
        parts.append((int(match[1]), int(match[2]), body[:-2]))
    return parts


@pytest.mark.parametrize("text, wanted", [("0-0,2-2", [(0, 0), (2, 2)]), ("0-0,700-702", [(0, 0), (700, 702)]), ("500-599,0-9,-10", [(500, 599), (0, 9), (990, 999)]), ("0-0, 5000-, 9-9", [(0, 0), (9, 9)]),
                                          (",".join(f"{n * 20}-{n * 20}" for n in range(16)), [(n * 20, n * 20) for n in range(16)])])
def test_several_ranges(ask, text, wanted):
    response = ask("Range: bytes=" + text)
    assert response.status == 206
    parts = parts_of(response)
    if len(parts) == len(wanted):
        assert [(first, last) for first, last, _ in parts] == wanted
    else:  # neighbours may be joined (RFC 9110 §15.3.7.2): all that was asked for is there
        assert all(any(f <= first and last <= l for f, l, _ in parts) for first, last in wanted)
    for first, last, body in parts:
        assert body == BODY[first:last + 1]


def test_several_ranges_none_satisfiable(ask):
    assert ask("Range: bytes=1000-,2000-,-0").status == 416


def test_more_ranges_than_allowed_are_not_served_as_ranges(ask):
    response = ask("Range: bytes=" + ",".join(f"{n}-{n}" for n in range(0, 200, 2)))
    assert response.status in (200, 416) and (response.status == 416 or response.body == BODY)


def test_overlapping_ranges_do_not_multiply_the_answer(ask):
    response = ask("Range: bytes=" + ",".join(["0-"] * 16))
    assert response.status in (200, 206, 416) and len(response.body) <= 3 * len(BODY)


def test_random_ranges_are_byte_exact(site):
    rng = random.Random(7)
    with site.connect() as connection:
        for _ in range(300):
            first = rng.randrange(1000)
            last = rng.randrange(first, 1200)
            response = connection.request("/cached.bin", fields=[f"Range: bytes={first}-{last}"])
            assert response.status == 206 and response.body == BODY[first:last + 1]


def test_ranges_of_a_large_file(site):
    body = random.Random(8).randbytes(6 << 20)
    site.put("large.bin", body)
    with site.connect() as connection:
        for first, last in ((0, 10), (1 << 20, (5 << 20) + 3), ((6 << 20) - 5, (6 << 20) - 1)):
            response = connection.request("/large.bin", fields=[f"Range: bytes={first}-{last}"])
            assert response.status == 206 and response.body == body[first:last + 1]


def test_the_tag_changes_with_the_content(site):
    site.put("changing.txt", "one")
    first = site.fetch("/changing.txt")["etag"]
    site.put("changing.txt.new", "two").rename(site.www / "changing.txt")
    second = wait_until(lambda: (lambda r: r if r.body == b"two" else None)(site.fetch("/changing.txt")))
    assert second["etag"] != first
