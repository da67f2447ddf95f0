"""SB6: a pool that lists its programs by their SHA-256 starts no other, and says which was tried."""
import hashlib
import json
import shutil
from pathlib import Path

from conftest import needs_root
from demo import needs_pools
from http_client import wait_until
from instance import BINARY, ONE_SITE
from test_pools_life import status_of

pytestmark = needs_pools
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
