"""`penstock secure audit`: what pools may do, and which served paths their processes could write; without an instance."""
import json
import os
import subprocess

import pytest
from conftest import needs_root
from instance import BINARY

CONFIG = """site.a.hosts = *
site.a.root = {root}
site.a.route.app.prefix = /app
site.a.route.app.handler = pool
site.a.route.app.pool = shop
pool.shop.runtime = external
pool.shop.app = /bin/true -x
pool.shop.directory = {root}
pool.shop.state = {state}
pool.scripts.runtime = cgi
pool.scripts.app = /usr/lib/cgi-bin/
pool.scripts.interpreter.pl = /usr/bin/perl
pool.scripts.identity = few
identity.few.network = client
pool.scripts.sandbox.tier = landlock
"""


@pytest.fixture
def ground(tmp_path):
    for directory in (tmp_path, *tmp_path.parents):
        if os.geteuid() == 0 and directory.stat().st_mode & 0o002 and not directory.stat().st_mode & 0o1000:
            pytest.skip("the directory of the test is writable")
    root, state = tmp_path / "www", tmp_path / "state"
    root.mkdir(mode=0o755)
    state.mkdir(mode=0o755)
    (root / "sub").mkdir(mode=0o755)
    (root / "sub" / "page.html").write_text("text")
    (tmp_path / "p.conf").write_text(CONFIG.format(root=root, state=state))
    return tmp_path


def audit(ground, *more):
    return subprocess.run([str(BINARY), "secure", "audit", "-c", str(ground / "p.conf"), *more], capture_output=True, text=True,
                          timeout=20, stdin=subprocess.DEVNULL)


def audit_json(ground):
    done = audit(ground, "--json")
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@needs_root
def test_a_clean_configuration_is_listed_and_passes(ground):
    code, said = audit_json(ground)
    assert (code, said["writable"], said["unread"]) == (0, [], [])
    assert said["looked_at"] == 3
    scripts, shop = said["pools"]  # by name
    assert shop["syscalls"] == "compute" and shop["syscall_count"] <= 80 and shop["network"] == "none"
    assert shop["writes"] == [str(ground / "state")] and str(ground / "www") in shop["reads"]
    assert 1879048192 <= shop["uid"] < 1879048192 + 2**27
    assert shop["exposure"] == {"score": 0.5, "level": "safe", "items": [{"what": "sees the names of all files", "adds": 0.5}]}
    assert scripts["exposure"]["score"] == 4.5 and {"what": "connects to any address", "adds": 1.5} in scripts["exposure"]["items"]
    text = audit(ground).stdout
    assert "exposure  0.5 of 10, safe" in text
    assert "pool shop" in text and "0 could be written" in text
    assert scripts["network"] == "client" or "penstock-cgi" in scripts.get("error", "")


@needs_root
@pytest.mark.parametrize("change, who", [
    (lambda page, uid: os.chmod(page, 0o646), "everybody"),
    (lambda page, uid: os.chown(page, uid, 0), "pool shop"),
    (lambda page, uid: (os.chown(page, 0, uid), os.chmod(page, 0o664)), "pool shop"),
    (lambda page, uid: os.chown(page.parent, uid, 0), "pool shop"),
    (lambda page, uid: os.chmod(page.parent.parent, 0o777), "everybody"),
    (lambda page, uid: os.chmod(page.parent.parent.parent, 0o777), "everybody"),  # another root could be put there
])
def test_a_path_that_could_be_written_is_named(ground, change, who):
    _, said = audit_json(ground)
    uid = said["pools"][1]["uid"]
    change(ground / "www" / "sub" / "page.html", uid)
    code, said = audit_json(ground)
    assert code == 1
    assert [one["who"] for one in said["writable"]] == [who]
    assert str(ground) in audit(ground).stdout


@needs_root
def test_a_state_within_served_content_has_not_even_landlock_before_it(ground):
    config = (ground / "p.conf").read_text().replace(str(ground / "state"), str(ground / "www" / "sub"))
    (ground / "p.conf").write_text(config)
    _, said = audit_json(ground)
    os.chown(ground / "www" / "sub", said["pools"][1]["uid"], 0)
    code, said = audit_json(ground)
    assert (code, [one["sandboxed"] for one in said["writable"]]) == (1, [False])


def test_a_root_that_is_missing_and_a_wrong_file_are_told(ground):
    (ground / "www" / "sub" / "page.html").unlink()
    (ground / "www" / "sub").rmdir()
    (ground / "www").rmdir()
    done = audit(ground)
    assert done.returncode == 1 and "not looked at" in done.stdout
    (ground / "p.conf").write_text("pool.p.identity = nobody\n")
    assert audit(ground).returncode == 2
