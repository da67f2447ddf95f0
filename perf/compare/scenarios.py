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


COLD_FILES = 60_000
SCENARIOS = [
    Scenario("1k-c1", "1 KiB, 1 connection", "/1k.bin", connections=1, floor=True),
    Scenario("1k", "1 KiB, 64 connections", "/1k.bin", floor=True),
    Scenario("1k-c512", "1 KiB, 512 connections", "/1k.bin", connections=512, floor=True),
    Scenario("10k", "10 KiB, 64 connections", "/10k.bin"),
    Scenario("100k", "100 KiB, 64 connections", "/100k.bin"),
    Scenario("1m", "1 MiB, 64 connections", "/1m.bin"),
    Scenario("304", "304 Not Modified, 64 connections", "/1k.bin", validator=True, expect=304),
    Scenario("pipeline", "1 KiB, 16-deep pipeline, 64 connections", "/1k.bin", lua=("pipeline=16",), floor=True),
    Scenario("close", "1 KiB, one request per connection, 64 at a time", "/1k.bin", headers=("Connection: close",), closes=True, floor=True),
    Scenario("mixed", "10,000 real files, a few of them hot, 64 connections", "/", lua=("paths=@DIR@/mixed.paths",)),
    Scenario("mixed-c512", "10,000 real files, 512 connections", "/", connections=512, lua=("paths=@DIR@/mixed.paths",)),
    Scenario("cold", "60,000 files of 4 KiB, each asked for once, cold cache", "/", fresh=True,
             lua=("paths=@DIR@/cold.paths", f"stop={COLD_FILES}")),
]
