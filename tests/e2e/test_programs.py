"""SB6: a pool that lists its programs by their SHA-256 starts no other, and says which was tried. ID6: programs start as who they are.

PENSTOCK_SPAWNS=1000 for the long run of ID6."""
import ctypes
import hashlib
import json
import os
import shutil
import struct
import threading
from pathlib import Path

import pytest
from conftest import needs_root
from demo import needs_pools
from http_client import wait_until
from instance import BINARY, ONE_SITE
from test_pools_life import status_of

pytestmark = needs_pools
SPAWNS = int(os.environ.get("PENSTOCK_SPAWNS", "20"))
LIFE = BINARY.parent / "tests/support/apps/life"
PYTHON = Path("/usr/bin/python3").resolve()
SCRIPT = '#!/usr/bin/python3\nprint("Content-Type: text/plain\\n\\nfine")\n'


def sum_of(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def alarms(server):
    return json.loads(server.cli("alarm", "list", "--json").stdout)["alarms"]


def site(pool):
    return ONE_SITE + "site.main.route.app.prefix = /app\nsite.main.route.app.handler = pool\n" + f"site.main.route.app.pool = {pool}\n"


@needs_root
def test_a_script_that_was_changed_is_refused_and_told(make):
    server = make(site("scripts") + "pool.scripts.runtime = cgi\npool.scripts.app = {WWW}/cgi/\npool.scripts.directory = {WWW}/cgi\n"
                  f"pool.scripts.programs_sha256 = {hashlib.sha256(SCRIPT.encode()).hexdigest()} {sum_of(PYTHON)}\n"
                  "pool.scripts.identity = runs\nidentity.runs.execute = /usr/bin\n", start=False)
    script = server.put("cgi/x.py", SCRIPT, mode=0o755)
    server.start()
    assert status_of(server, "/app/x.py") == 200
    Path(script).write_text(SCRIPT.replace("fine", "changed"))
    assert status_of(server, "/app/x.py") >= 500
    wait_until(lambda: alarms(server), what="the alarm")
    alarm = alarms(server)[0]
    assert alarm["what"] == str(script) and alarm["action"] == "refused"
    assert sum_of(script) in alarm["detail"]
    Path(script).write_text(SCRIPT)
    assert status_of(server, "/app/x.py") == 200
    server.sysctl(pool__scripts__programs_sha256=hashlib.sha256(SCRIPT.encode()).hexdigest())
    assert status_of(server, "/app/x.py") >= 500, "its interpreter counts, too"


def test_a_worker_program_that_was_changed_is_not_started(make, open_folder):
    program = open_folder / "life"
    shutil.copy(LIFE, program)
    server = make(site("life") + f"pool.life.runtime = external\npool.life.app = {program}\npool.life.rapid_fail.crashes = 1\n"
                  f"pool.life.rapid_fail.probe = 0\npool.life.programs_sha256 = {sum_of(LIFE)}\n")
    assert status_of(server, "/app/who") == 200
    changed = open_folder / "new"
    changed.write_bytes(LIFE.read_bytes() + b"more")
    changed.chmod(0o755)
    changed.rename(program)
    server.cli("pool", "recycle", "life", check=False)
    wait_until(lambda: alarms(server), what="the alarm")
    alarm = alarms(server)[0]
    assert alarm["what"] == str(program) and sum_of(program) in alarm["detail"]
    assert "programs_sha256 does not list" in server.words.read_text()


class Execs:
    """Who executes a file, each held by fanotify(7) at its open, when the kernel has changed nothing yet, until it has been looked at."""

    CLASS_CONTENT, CLOEXEC, OPEN_EXEC_PERM, ALLOW = 0x04, 0x01, 0x40000, 0x01
    EVENT, ANSWER = struct.Struct("=IBBHQii"), struct.Struct("=iI")

    def __init__(self, path):
        libc = ctypes.CDLL(None, use_errno=True)
        self.seen = []
        self.fd = libc.fanotify_init(self.CLASS_CONTENT | self.CLOEXEC, os.O_RDONLY)
        if self.fd < 0 or libc.fanotify_mark(self.fd, 1, ctypes.c_uint64(self.OPEN_EXEC_PERM), -100, os.fsencode(path)) != 0:
            pytest.skip(f"no permission events of fanotify: {os.strerror(ctypes.get_errno())}")
        threading.Thread(target=self.look, daemon=True).start()

    def look(self):
        while True:
            try:
                events = os.read(self.fd, 4096)
            except OSError:
                return
            for at in range(0, len(events), self.EVENT.size):
                fd, pid = self.EVENT.unpack_from(events, at)[-2:]
                lines = Path(f"/proc/{pid}/status").read_text().splitlines()
                self.seen.append(dict(line.split(":\t", 1) for line in lines if ":\t" in line))
                os.write(self.fd, self.ANSWER.pack(fd, self.ALLOW))
                os.close(fd)


@needs_root
def test_a_program_is_executed_under_the_identity_that_it_runs_as(make):
    """What audit records of an execve is who called it: nobody who could have been somebody else."""
    server = make(site("scripts") + "pool.scripts.runtime = cgi\npool.scripts.app = {WWW}/cgi/\npool.scripts.directory = {WWW}/cgi\n"
                  "pool.scripts.identity = runs\nidentity.runs.execute = /usr/bin\n", start=False)
    script = server.put("cgi/x", '#!/bin/sh\necho "Content-Type: text/plain"; echo; id -u\n', mode=0o755)
    server.start()
    execs = Execs(script)
    with server.connect() as connection:
        said = {connection.request("/app/x").body for _ in range(SPAWNS)}
    os.close(execs.fd)
    assert len(said) == 1 and len(execs.seen) == SPAWNS
    uid = said.pop().decode().strip()
    assert int(uid) >= 1_879_048_192, "a number of its own"
    for status in execs.seen:
        assert status["Uid"].split() == [uid] * 4 and status["Gid"].split() == [uid] * 4, status
        assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == int(status["CapBnd"], 16) == 0, status
        assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2", status
