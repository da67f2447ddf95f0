"""Issue 3: scripts/serve --apps, as it is called, serves all of the demo's applications to real clients."""
import os
import signal
import subprocess

import pytest
from conftest import needs
from demo import needs_flask, needs_gitweb, needs_php, needs_pools
from http_client import Closed, Connection, wait_until
from instance import BINARY, TREE, free_port
from test_apps import Browser, content, fill_repository, git, needs_git_http, visit_cloakroom

pytestmark = [needs_pools, needs_flask, needs_php, needs_git_http, needs_gitweb, needs("meson")]


def is_served(port):
    try:
        with Connection(port) as connection:
            return connection.request("/apps.html").status == 200
    except (OSError, Closed):
        return False


@pytest.fixture
def port(open_folder):
    port = free_port()
    words = [TREE / "scripts/serve", "--apps", open_folder / "state", "--control", open_folder / "control", "--set", f"server.listen=127.0.0.1:{port}"]
    with open(open_folder / "words", "w+") as output:
        serve = subprocess.Popen(words, env={**os.environ, "PENSTOCK": str(BINARY)}, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        try:
            wait_until(lambda: serve.poll() is not None or is_served(port), seconds=60, what="the demo is served")
            assert serve.poll() is None, (open_folder / "words").read_text()
            yield port
        finally:
            serve.send_signal(signal.SIGTERM)
            assert serve.wait(30) == 0, (open_folder / "words").read_text()


def test_all_applications_are_served(port, tmp_path):
    ada = Browser(port)
    assert "You are ada, and have been here 1 times" in ada.post("/flask/login", name="ada", password="engine")[1]
    assert "Kept table.bin" in ada.upload("/flask/files", "table.bin", b"x" * 100_000, note="")[1]
    visit_cloakroom(port, "/php")
    clone, again = tmp_path / "clone", tmp_path / "again"
    git("clone", "--quiet", f"http://127.0.0.1:{port}/git/demo.git", clone, where=tmp_path)
    fill_repository(clone, "one")
    git("add", "-A", where=clone)
    git("commit", "--quiet", "-m", "what the demo was given", where=clone)
    git("push", "--quiet", "origin", "HEAD:main", where=clone)
    git("clone", "--quiet", "--branch", "main", f"http://127.0.0.1:{port}/git/demo.git", again, where=tmp_path)
    assert content(again) == content(clone)
    assert "what the demo was given" in Browser(port).get("/gitweb?p=demo.git;a=summary")[1]
    assert Browser(port).get("/c") == (200, "hello\n")
    assert Browser(port).get("/native?world") == (200, "Hello from world\n")
    assert Browser(port).open("/cpp", b"abc")[1].startswith(b"3 bytes, hash ")
