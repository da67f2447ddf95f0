"""What is asked of the servers."""
from dataclasses import dataclass


@dataclass(frozen=True)
class Scenario:
    name: str
    what: str
    path: str
    connections: int = 64
    lua: tuple[str, ...] = ()     # arguments of load.lua
    headers: tuple[str, ...] = ()
    validator: bool = False       # adds If-None-Match with the server's own ETag
    floor: bool = False           # the canned answer stands for this file too
    closes: bool = False          # one request per connection
    fresh: bool = False           # restarts the server, so that nothing is cached
    expect: int = 200
    servers: tuple[str, ...] = ()  # of an application: ours, what it is compared with, others (peers.py)
    app: str = ""                 # what the application is
    body: bytes | None = None     # its answer; None: the file at `path`
    least_s: int = 0              # a turn is not shorter: so many connections take their time to come up, in which wrk asks nothing
    times: int = 1                # as many rounds: for a difference of a few percent
    crowded: bool = False         # the server's core is shared with a program that never rests
    calls: bool = False           # counts system calls, too: not for the clock
    client: str = "wrk"           # what asks (loads.py), where the server does not say
    streams: int = 1              # of one connection at a time


LOADS = {1: "-c1", 64: "", 512: "-c512"}


def at_each_load(name, size):
    return [Scenario(name + suffix, f"{size}, {c} connection{'s' if c > 1 else ''}", f"/{name}.bin", connections=c) for c, suffix in LOADS.items()]


COLD_FILES = 60_000
SCENARIOS = [
    Scenario("1k-c1", "1 KiB, 1 connection", "/1k.bin", connections=1, floor=True),
    Scenario("1k", "1 KiB, 64 connections", "/1k.bin", floor=True),
    Scenario("1k-c512", "1 KiB, 512 connections", "/1k.bin", connections=512, floor=True),
    Scenario("saturated", "1 KiB, 512 connections, a busy neighbour on the server's core", "/1k.bin", connections=512, floor=True, crowded=True),
    *at_each_load("10k", "10 KiB"),
    *at_each_load("100k", "100 KiB"),
    *at_each_load("1m", "1 MiB"),
    Scenario("304", "304 Not Modified, 64 connections", "/1k.bin", validator=True, expect=304),
    Scenario("pipeline", "1 KiB, 16-deep pipeline, 64 connections", "/1k.bin", lua=("pipeline=16",), floor=True),
    Scenario("close", "1 KiB, one request per connection, 64 at a time", "/1k.bin", headers=("Connection: close",), closes=True, floor=True),
    Scenario("mixed", "10,000 real files, a few of them hot, 64 connections", "/", lua=("paths=@DIR@/mixed.paths",)),
    Scenario("mixed-c512", "10,000 real files, 512 connections", "/", connections=512, lua=("paths=@DIR@/mixed.paths",)),
    Scenario("cold", "60,000 files of 4 KiB, each asked for once, cold cache", "/", fresh=True,
             lua=("paths=@DIR@/cold.paths", f"stop={COLD_FILES}")),
]


ANSWER_112 = b"112 bytes of an answer, which is what every server here sends: a worker, a program behind nginx, and a file too\n"
HELLO = b"Hello, world!\n"
CONCURRENCIES = (1, 32, 256)


def at_each_concurrency(name, app, path, body, *names):
    return [Scenario(f"{name}-c{c}", f"{app}, {c} connection{'s' if c > 1 else ''}", path, connections=c, app=app, body=body, servers=names)
            for c in CONCURRENCIES]


DYNAMIC = [
    *at_each_concurrency("native", "C, 112 bytes", "/app", ANSWER_112, "penstock-native", "nginx-fastcgi", "penstock-file"),
    *at_each_concurrency("wsgi", "WSGI hello", "/app", HELLO, "penstock-wsgi", "nginx-uwsgi", "nginx-gunicorn"),
    *at_each_concurrency("php", "PHP hello", "/app/answer.php", HELLO, "penstock-php", "nginx-php-fpm"),
    Scenario("sandbox", "C, 112 bytes, 32 connections, sandboxes", "/app", connections=32, body=ANSWER_112, times=4,
             servers=("penstock-native", "penstock-open", "penstock-landlock", "penstock-ns")),
    Scenario("hung", "112 bytes from a file, 64 connections, not at full load", "/answer.txt", lua=("delay=2",), body=ANSWER_112,
             servers=("penstock-hung", "penstock-file")),
    Scenario("calls", "C, 112 bytes, 256 connections, system calls", "/app", connections=256, body=ANSWER_112, calls=True,
             servers=("penstock-apart", "penstock-native", "penstock-file")),
]


TLS_PEERS = ("penstock", "nginx", "h2o")
TLS = [
    Scenario("h2-c1", "h2, 1 KiB, 1 connection × 32 streams", "/1k.bin", connections=1, streams=32, client="h2", servers=TLS_PEERS),
    Scenario("h2-c32", "h2, 1 KiB, 32 connections × 32 streams", "/1k.bin", connections=32, streams=32, client="h2", servers=TLS_PEERS),
    Scenario("h1-tls", "HTTP/1.1, 1 KiB, 64 connections", "/1k.bin", client="h1", servers=TLS_PEERS),
    Scenario("h1-tls-1m", "HTTP/1.1, 1 MiB, 16 connections", "/1m.bin", connections=16, client="h1", servers=TLS_PEERS),
    Scenario("h2-1m", "h2, 1 MiB, 16 connections", "/1m.bin", connections=16, client="h2", servers=TLS_PEERS),
    Scenario("full", "full handshake and 1 KiB, 64 at a time", "/1k.bin", client="full", servers=TLS_PEERS),
    Scenario("resumed", "resumed handshake and 1 KiB, 64 at a time", "/1k.bin", client="resumed", servers=TLS_PEERS),
    Scenario("own", "in cleartext, 1 KiB, 32 connections: h2c × 32 streams, and HTTP/1.1", "/1k.bin", connections=32, streams=32,
             servers=("penstock-h2c", "penstock-h1")),
    Scenario("own-tls", "over TLS, 1 KiB, 32 connections: h2 × 32 streams, and HTTP/1.1", "/1k.bin", connections=32, streams=32,
             servers=("penstock-h2", "penstock-h1-tls")),
]
