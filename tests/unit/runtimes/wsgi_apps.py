"""The applications that the tests of penstock-wsgi talk to: each path is one way to use PEP 3333."""
import atexit
import hashlib
import io
import json
import os
import re
import sys
import tempfile
import threading
import time
from wsgiref.validate import validator

TEXT = [("Content-Type", "text/plain")]
BLOCK = bytes(range(256)) * 256  # 64 KiB
together = threading.Barrier(32)
counts = {"closed": 0, "given": 0, "seen": ""}
kept = {}
released = threading.Event()

atexit.register(lambda: print("atexit has run", file=sys.stderr))


class Blocks:
    """64 MiB in blocks; counts what was given, and close()."""

    def __init__(self, many=1024, fail_at=None):
        self.left, self.many, self.fail_at = many, many, fail_at

    def __iter__(self):
        return self

    def __next__(self):
        if self.fail_at is not None and self.many - self.left == self.fail_at:
            raise KeyError("in the middle")
        if self.left == 0:
            raise StopIteration
        self.left -= 1
        counts["given"] += 1
        return BLOCK

    def close(self):
        counts["closed"] += 1


def environ_as_json(environ, start_response):
    start_response("200 OK", TEXT)
    shown = {k: v if isinstance(v, (str, int, bool, tuple)) else type(v).__name__ for k, v in environ.items()}
    return [json.dumps(shown).encode()]


def upload(environ, start_response):
    digest, size = hashlib.md5(), 0
    while block := environ["wsgi.input"].read(100_000):
        digest.update(block)
        size += len(block)
    start_response("200 OK", TEXT)
    return [f"{size} {digest.hexdigest()}".encode()]


def lines(environ, start_response):
    """The same calls on what came and on a BytesIO of it, which must give the same."""
    source = environ["wsgi.input"]
    how = environ["QUERY_STRING"]
    calls = {
        "iterate": lambda f: list(f),
        "readlines": lambda f: f.readlines(),
        "hint": lambda f: [f.readlines(10), f.readlines(1), f.readlines(None)],
        "readline": lambda f: [f.readline(), f.readline(3), f.readline(0), f.readline(-1), f.readline(None), f.read(5), f.readline(), f.read()],
        "read": lambda f: [f.read(0), f.read(1), f.read(-1), f.read(), f.readline(), f.read(7)],
    }
    start_response("200 OK", TEXT)
    return [repr(calls[how](source)).encode()]


def misuse_input(environ, start_response):
    said = []
    for call in (lambda f: f.read("many"), lambda f: f.read(1, 2), lambda f: f.readline(1 << 80), lambda f: type(f)()):
        try:
            call(environ["wsgi.input"])
        except Exception as error:
            said.append(type(error).__name__)
    start_response("200 OK", TEXT)
    return [" ".join(said).encode()]


def keep(environ, start_response):
    kept.update(input=environ["wsgi.input"], start=start_response, errors=environ["wsgi.errors"])
    kept["write"] = start_response("200 OK", TEXT)
    return []


def use_kept(environ, start_response):
    said = []
    for call in (lambda: kept["input"].read(), lambda: kept["start"]("200 OK", TEXT), lambda: kept["write"](b"x")):
        try:
            call()
        except Exception as error:
            said.append(str(error))
    kept["errors"].write("late words\n")
    start_response("200 OK", TEXT)
    return ["; ".join(said).encode()]


def reader_thread(environ, start_response):
    """Leaves a thread behind that waits for a body which does not come."""
    def read(source):
        try:
            source.read()
        except Exception as error:
            counts["seen"] = type(error).__name__
        released.set()
    threading.Thread(target=read, args=(environ["wsgi.input"],)).start()
    start_response("200 OK", TEXT)
    return [b"left"]


def write(environ, start_response):
    put = start_response("200 OK", TEXT)
    put(b"first ")
    put(b"")
    put(b"second ")
    return iter([b"third ", b"", b"fourth"])


def failing(environ, start_response):
    how = environ["QUERY_STRING"]
    if how == "before":
        raise KeyError("before the head")
    if how == "exit":
        sys.exit(3)
    if how == "bytes":
        start_response("200 OK", TEXT)
        return ["text"]
    if how == "none":
        start_response("200 OK", TEXT)
        return None
    if how == "never":
        return [b"no head"]
    if how == "never-empty":
        return []
    if how == "twice":
        start_response("200 OK", TEXT)
        start_response("200 OK", TEXT)
    if how == "after":
        return after(start_response)
    if how == "started":  # not sent yet: a 500 after all
        start_response("200 OK", TEXT)
        raise KeyError("after start_response")
    if how == "exc_info":
        start_response("200 OK", TEXT + [("X-First", "1")])
        try:
            raise KeyError("seen")
        except KeyError:
            start_response("503 Sorry", TEXT, sys.exc_info())
            return [b"sorry"]
    if how == "exc_info-late":
        return late(start_response)
    if how == "close":
        start_response("200 OK", TEXT)
        return BadClose([b"whole"])
    raise AssertionError(how)


class BadClose(list):
    def close(self):
        raise KeyError("in close()")


def after(start_response):
    start_response("200 OK", TEXT)
    yield b"begun"
    raise KeyError("after the head")


def late(start_response):
    start_response("200 OK", TEXT)
    yield b"begun"
    try:
        raise KeyError("too late")
    except KeyError:
        start_response("503 Sorry", TEXT, sys.exc_info())


HEADS = {
    "status-int": (200, TEXT), "status-short": ("20", TEXT), "status-long": ("2000 OK", TEXT), "status-1xx": ("101 Up", TEXT),
    "status-6xx": ("600 No", TEXT), "status-crlf": ("200 OK\r\nX: y", TEXT), "tuple": ("200 OK", tuple(TEXT)), "pair": ("200 OK", [["A", "b"]]),
    "three": ("200 OK", [("A", "b", "c")]), "bytes": ("200 OK", [(b"A", "b")]), "value-bytes": ("200 OK", [("A", b"b")]),
    "name-crlf": ("200 OK", [("A\r\nB", "c")]), "name-empty": ("200 OK", [("", "c")]), "name-blank": ("200 OK", [("A B", "c")]),
    "value-lf": ("200 OK", [("A", "b\nSet-Cookie: c")]), "value-nul": ("200 OK", [("A", "b\0")]), "value-wide": ("200 OK", [("A", "\u20ac")]),
    "hop": ("200 OK", [("Connection", "close")]), "length": ("200 OK", [("Content-Length", "+5")]), "length-huge": ("200 OK", [("Content-Length", "9" * 30)]),
    "length-two": ("200 OK", [("Content-Length", "5"), ("Content-Length", "6")]), "many": ("200 OK", [("A", "b")] * 129),
    "large": ("200 OK", [("A", "b" * 8192)] * 4),
}


def head(environ, start_response):
    start_response(*HEADS[environ["QUERY_STRING"]])
    return [b"not reached"]


def odd_head(environ, start_response):
    start_response("299", [("X-Latin", "caf\xe9"), ("Set-Cookie", "a"), ("Set-Cookie", "b"), ("X-Most", "v" * 30_000)])
    return [b"odd"]


def length(environ, start_response):
    says, parts = environ["QUERY_STRING"].split(":")
    start_response("200 OK", TEXT + [("Content-Length", says)])
    result = [p.encode() for p in parts.split(",") if p]
    return Listed(result) if environ["PATH_INFO"] == "/length-stream" else result


def Listed(result):
    yield from result


def status(environ, start_response):
    start_response(environ["QUERY_STRING"] + " As asked", [])
    return [b"a body"]


def file(environ, start_response):
    how = environ["QUERY_STRING"]
    f = io.BytesIO(b"0123456789" * 1000)
    if how in ("file", "position", "length", "raw", "random", "text", "short", "subclass"):
        f = {"raw": lambda: open(kept["path"], "rb", buffering=0), "random": lambda: open(kept["path"], "r+b"), "text": lambda: open(kept["path"]),
             "subclass": lambda: Rot(kept["path"])}.get(how, lambda: open(kept["path"], "rb"))()
    headers = list(TEXT)
    if how == "position":
        f.seek(3)
        f.read(4)
    if how == "length":
        headers.append(("Content-Length", "12"))
    if how == "short":
        headers.append(("Content-Length", "1000000"))
    kept["file"] = f
    start_response("200 OK", headers)
    return environ["wsgi.file_wrapper"](f, 7 if how == "memory-7" else 4096)


class Rot(io.FileIO):
    """A file whose bytes are not those of its descriptor."""

    def read(self, size=-1):
        return bytes(255 - b for b in super().read(size))


def is_closed(environ, start_response):
    start_response("200 OK", TEXT)
    return [str(kept["file"].closed).encode()]


def barrier(environ, start_response):
    together.wait(30)
    start_response("200 OK", TEXT)
    return [b"all here"]


def spin(environ, start_response):
    if environ["QUERY_STRING"]:
        sys.stderr.write("begun\n")
    while not counts.get("enough"):
        pass
    start_response("200 OK", TEXT)
    return [b"spun"]


def stubborn(environ, start_response):
    span = 3600 if environ["QUERY_STRING"] == "outside" else 0
    try:
        sys.stderr.write("begun\n")
        while not counts.get("enough"):
            time.sleep(span)
    except BaseException:  # there is one for each request
        counts["refused"] = counts.get("refused", 0) + 1
    while not counts.get("enough"):
        time.sleep(span)


def keeps_lock(environ, start_response):
    sys.stderr.write("begun\n")
    re.match(r"(a+)+$", "a" * 64 + "b")  # computes in C, for ever, and lets nobody else run


def enough(environ, start_response):
    counts["enough"] = True
    start_response("200 OK", TEXT)
    return [b"enough"]


def show_counts(environ, start_response):
    start_response("200 OK", TEXT)
    return [json.dumps(counts).encode()]


def wait_released(environ, start_response):
    released.wait(30)
    return show_counts(environ, start_response)


def talk(environ, start_response):
    errors = environ["wsgi.errors"]
    errors.write("half ")
    errors.write("a line\nand ")
    errors.writelines(["the ", "rest \u20ac \udcff\n"])
    errors.write("no newline")
    errors.flush()
    errors.write(" at all")
    print("printed")
    try:
        errors.write(b"bytes")
    except TypeError as error:
        errors.write(f"\n{error}\n")
    start_response("200 OK", TEXT)
    return []


def where(environ, start_response):
    start_response("200 OK", TEXT)
    said = [os.getcwd(), sys.prefix, sys.path[0], os.environ.get("COLOUR", ""), str(sys.flags.no_user_site), "PENSTOCK_WORKER" in os.environ]
    return [json.dumps(said).encode()]


def endless(environ, start_response):
    start_response("200 OK", TEXT)
    return empty_for_ever()


def empty_for_ever():
    try:
        while True:
            yield b""
    finally:
        counts["closed"] += 1


def hello(environ, start_response):
    start_response("200 OK", TEXT)
    return [b"hello\n"]


def blocks(environ, start_response):
    start_response("200 OK", TEXT)
    return Blocks()


def failing_blocks(environ, start_response):
    start_response("200 OK", TEXT)
    return Blocks(8, 4)


PATHS = {
    "/environ": environ_as_json, "/upload": upload, "/lines": lines, "/misuse": misuse_input, "/keep": keep, "/use-kept": use_kept, "/write": write,
    "/fail": failing, "/head": head, "/odd-head": odd_head, "/length": length, "/length-stream": length, "/status": status, "/file": file,
    "/is-closed": is_closed, "/barrier": barrier, "/spin": spin, "/stubborn": stubborn, "/keeps_lock": keeps_lock, "/enough": enough, "/counts": show_counts, "/talk": talk, "/where": where,
    "/blocks": blocks, "/failing-blocks": failing_blocks, "/reader-thread": reader_thread, "/wait-released": wait_released, "/endless": endless,
}


def application(environ, start_response):
    return PATHS.get(environ["PATH_INFO"], hello)(environ, start_response)


def validated_application(environ, start_response):
    body = environ["wsgi.input"].read(1_000_000)
    environ["wsgi.errors"].write("heard\n")
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body) + 4))])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [b"got ", body]


class Holder:
    inner = staticmethod(hello)


validated = validator(validated_application)
not_callable = 7

with tempfile.NamedTemporaryFile(delete=False) as made:
    made.write(b"0123456789" * 20_000)
kept["path"] = made.name
atexit.register(os.unlink, made.name)
