"""The applications of the demo, unmodified, behind penstock, asked by real clients: browsers' sessions, curl and git."""
import hashlib
import http.cookiejar
import json
import os
import re
import shutil
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request
import uuid
from pathlib import Path

import pytest
from conftest import needs
from demo import apps, needs_flask, needs_gitweb, needs_php, needs_pools  # noqa: F401
from http_client import wait_until
from instance import TREE

pytestmark = needs_pools
needs_git_http = pytest.mark.skipif(not Path("/usr/lib/git-core/git-http-backend").exists(), reason="git is not installed")
PHP_FPM = next(iter(sorted(Path("/usr/sbin").glob("php-fpm*"))), None)


class Browser:
    """Cookies, redirects, forms."""

    def __init__(self, port):
        self.base = f"http://127.0.0.1:{port}"
        self.jar = http.cookiejar.CookieJar()
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.jar))

    def open(self, path, body=None, **headers):
        """(status, text) of the page where redirects end."""
        request = urllib.request.Request(self.base + path, body, headers)
        try:
            with self.opener.open(request, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def get(self, path):
        status, body = self.open(path)
        return status, body.decode(errors="replace")

    def post(self, path, **fields):
        status, body = self.open(path, urllib.parse.urlencode(fields).encode())
        return status, body.decode(errors="replace")

    def upload(self, path, name, content, **fields):
        mark = uuid.uuid4().hex
        parts = [f'--{mark}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode() for key, value in fields.items()]
        parts.append(f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
                     "Content-Type: application/octet-stream\r\n\r\n".encode() + content + f"\r\n--{mark}--\r\n".encode())
        status, body = self.open(path, b"".join(parts), **{"Content-Type": f"multipart/form-data; boundary={mark}"})
        return status, body.decode(errors="replace")


CONTENT = bytes(range(256)) * 12_000  # 3 MB, no text


# --- Flask -------------------------------------------------------------------------------------


@needs_flask
def test_flask_login_session_upload_and_download(apps):
    ada, other = Browser(apps.port), Browser(apps.port)
    status, page = ada.get("/flask/")
    assert status == 200 and 'action="/flask/login"' in page, "URLs begin with the route's prefix"
    assert "That is not it" in ada.post("/flask/login", name="ada", password="wrong")[1]
    assert "You are ada, and have been here 1 times" in ada.post("/flask/login", name="ada", password="engine")[1]
    assert "have been here 2 times" in ada.get("/flask/")[1]
    status, page = ada.upload("/flask/files", "table.bin", CONTENT, note="of Bernoulli's")
    assert status == 200 and "Kept table.bin: of Bernoulli&#39;s" in page and 'href="/flask/files/table.bin"' in page
    assert ada.open("/flask/files/table.bin") == (200, CONTENT)
    assert other.open("/flask/files/table.bin")[0] == 403, "a session is one client's"
    assert ada.open("/flask/files/none")[0] == 404
    assert "ada" not in ada.post("/flask/logout")[1].replace('placeholder="ada"', "")
    assert ada.open("/flask/files/table.bin")[0] == 403


@needs_flask
@needs("curl")
def test_flask_by_curl_ranges_and_streams(apps, tmp_path):
    def curl(*words):
        return subprocess.run(["curl", "-sS", "--fail-with-body", "-b", tmp_path / "jar", "-c", tmp_path / "jar", *words], capture_output=True, timeout=60)
    base = f"http://127.0.0.1:{apps.port}/flask"
    (tmp_path / "sent").write_bytes(CONTENT)
    assert b"You are ada" in curl("-L", "-d", "name=ada&password=engine", f"{base}/login").stdout
    assert b"Kept by-curl" in curl("-L", "-F", f"file=@{tmp_path}/sent;filename=by-curl", f"{base}/files").stdout
    assert b"Kept chunked" in curl("-L", "-H", "Transfer-Encoding: chunked", "-H", "Expect:", "-F", f"file=@{tmp_path}/sent;filename=chunked", f"{base}/files").stdout
    assert curl(f"{base}/files/by-curl").stdout == CONTENT
    assert curl(f"{base}/files/chunked").stdout == CONTENT
    assert curl("-r", "100-199", f"{base}/files/by-curl").stdout == CONTENT[100:200]
    lines = curl(f"{base}/stream?lines=50000").stdout.splitlines()
    assert len(lines) == 50_000 and lines[-1] == b"line 49999"
    assert curl("-I", f"{base}/").stdout.startswith(b"HTTP/1.1 200")


@needs_flask
def test_flask_serves_many_at_once(apps):
    failed = []

    def visit(number):
        browser = Browser(apps.port)
        browser.post("/flask/login", name="ada", password="engine")
        for visits in range(2, 8):
            page = browser.get("/flask/")[1]
            if f"have been here {visits} times" not in page:
                failed.append((number, visits, page))
    threads = [threading.Thread(target=visit, args=(i,)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


# --- PHP ---------------------------------------------------------------------------------------


def visit_cloakroom(port, prefix):
    grace, other = Browser(port), Browser(port)
    status, page = grace.get(f"{prefix}/index.php")
    assert status == 200 and 'action="login.php"' in page
    assert "That is not it" in grace.post(f"{prefix}/login.php", name="grace", password="wrong")[1]
    assert "You are grace, and have been here 1 times" in grace.post(f"{prefix}/login.php", name="grace", password="hopper")[1]
    assert "have been here 2 times" in grace.get(f"{prefix}/index.php")[1]
    status, page = grace.upload(f"{prefix}/upload.php", "coat.bin", CONTENT, note="a <moth>")
    assert status == 200 and "Kept coat.bin: a &lt;moth&gt;" in page
    assert grace.open(f"{prefix}/download.php?name=coat.bin") == (200, CONTENT)
    assert grace.open(f"{prefix}/download.php?name=none")[0] == 404
    assert other.open(f"{prefix}/download.php?name=coat.bin")[0] == 403
    grace.post(f"{prefix}/logout.php")
    assert grace.open(f"{prefix}/download.php?name=coat.bin")[0] == 403
    assert other.open(f"{prefix}/none.php")[0] == 404


@needs_php
def test_php_login_session_upload_and_download(apps):
    visit_cloakroom(apps.port, "/php")


FPM_POOL = """[global]
error_log = {DIR}/fpm.log
daemonize = no
[www]
listen = {DIR}/fpm/socket
listen.mode = 0666
pm = static
pm.max_children = 4
env[STATE_DIR] = {DIR}/fpm/state
php_admin_value[session.save_path] = {DIR}/fpm/state
php_admin_value[upload_max_filesize] = 64M
php_admin_value[post_max_size] = 65M
"""
FPM_SITE = """site.main.hosts = *
site.main.root = {WWW}
site.main.route.php.prefix = /cloakroom
site.main.route.php.handler = pool
site.main.route.php.pool = fpm
site.main.route.php.methods = GET HEAD POST
pool.fpm.runtime = fastcgi
pool.fpm.app = unix:{DIR}/fpm/socket
pool.fpm.directory = {DIR}/php
pool.fpm.identity = fpm
identity.fpm.write = {DIR}/fpm
"""


@pytest.mark.skipif(PHP_FPM is None, reason="php-fpm is not installed")
def test_php_fpm_as_it_is(make):
    instance = make(FPM_SITE, start=False)
    shutil.copytree(TREE / "scripts/apps/php", instance.dir / "php")
    (instance.dir / "fpm/state").mkdir(parents=True)
    config = instance.dir / "fpm.conf"
    as_root = os.geteuid() == 0
    config.write_text(instance.fill(FPM_POOL) + ("user = www-data\ngroup = www-data\n" if as_root else ""))
    if as_root:
        shutil.chown(instance.dir / "fpm/state", "www-data", "www-data")
    fpm = subprocess.Popen([PHP_FPM, "-F", "-n", "-y", config], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until((instance.dir / "fpm/socket").exists, 10, what="php-fpm listens")
        instance.start()
        visit_cloakroom(instance.port, "/cloakroom")
    finally:
        fpm.terminate()
        fpm.wait(10)


# --- git ---------------------------------------------------------------------------------------


def git(*words, where):
    environment = {"PATH": os.environ["PATH"], "HOME": str(where), "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0",
                   "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
    done = subprocess.run(["git", *map(str, words)], cwd=where, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"git {words}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def content(folder):
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in sorted(folder.rglob("*")) if p.is_file() and ".git" not in p.relative_to(folder).parts}


def fill_repository(folder, seed):
    """Some hundred files, one of them large and incompressible."""
    for i in range(200):
        path = folder / f"part{i % 7}" / f"file{seed}-{i}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{seed} {i}\n" * (i + 1))
    (folder / f"large{seed}").write_bytes(b"".join(hashlib.sha256(f"{seed} {i}".encode()).digest() for i in range(100_000)))


@needs_git_http
def test_git_clone_push_fetch_over_http(apps, tmp_path):
    url = f"http://127.0.0.1:{apps.port}/git/demo.git"
    first, second = tmp_path / "first", tmp_path / "second"
    git("clone", "--quiet", url, first, where=tmp_path)
    for seed in ("one", "two"):
        fill_repository(first, seed)
        git("add", "-A", where=first)
        git("commit", "--quiet", "-m", f"as {seed} says", where=first)
        git("push", "--quiet", "origin", "HEAD:main", where=first)
        if seed == "one":
            git("clone", "--quiet", "--branch", "main", url, second, where=tmp_path)
            assert content(second) == content(first)
    git("fetch", "--quiet", where=second)
    git("merge", "--quiet", "--ff-only", "origin/main", where=second)
    assert content(second) == content(first)
    assert git("rev-parse", "HEAD", where=second) == git("rev-parse", "HEAD", where=first)
    git("fsck", "--strict", where=second)
    assert git("-c", "safe.directory=*", "rev-parse", "main", where=apps.state / "repositories/demo.git") == git("rev-parse", "HEAD", where=first)
    (second / "part0/new.txt").write_text("from the second\n")
    git("add", "-A", where=second)
    git("commit", "--quiet", "-m", "back", where=second)
    git("push", "--quiet", "origin", "HEAD:main", where=second)
    git("fetch", "--quiet", where=first)
    assert git("rev-parse", "origin/main", where=first) == git("rev-parse", "HEAD", where=second)
    shallow = tmp_path / "shallow"
    git("clone", "--quiet", "--depth", "1", "--branch", "main", url, shallow, where=tmp_path)
    assert content(shallow) == content(second)


@needs_git_http
@needs_gitweb
def test_gitweb_shows_what_was_pushed(apps, tmp_path):
    work = tmp_path / "work"
    git("clone", "--quiet", f"http://127.0.0.1:{apps.port}/git/demo.git", work, where=tmp_path)
    (work / "shown.txt").write_text("shown by gitweb & escaped\n")
    git("add", "-A", where=work)
    git("commit", "--quiet", "-m", "a subject for gitweb", where=work)
    git("push", "--quiet", "origin", "HEAD:main", where=work)
    browser = Browser(apps.port)
    status, page = browser.get("/gitweb")
    assert status == 200 and "demo.git" in page
    link = re.search(r'href="(/gitweb[^"]*demo\.git[^"]*a=summary)"', page)
    assert link, page
    status, page = browser.get(link.group(1).replace("&amp;", "&"))
    assert status == 200 and "a subject for gitweb" in page
    status, page = browser.get("/gitweb?p=demo.git;a=blob_plain;f=shown.txt;hb=main")
    assert (status, page) == (200, "shown by gitweb & escaped\n")
    assert browser.get("/gitweb-static/gitweb.css")[0] == 200


# --- C, C++, a shared object -------------------------------------------------------------------


def test_programs_on_the_worker_library(apps):
    browser = Browser(apps.port)
    assert browser.get("/c") == (200, "hello\n")
    assert browser.get("/native?world") == (200, "Hello from world\n")
    value = 0xcbf29ce484222325
    for byte in CONTENT[:100_000]:
        value = ((value ^ byte) * 0x100000001b3) % (1 << 64)
    assert browser.open("/cpp", CONTENT[:100_000]) == (200, f"100000 bytes, hash {value}\n".encode())


def test_static_files_beside_applications(apps):
    status, page = Browser(apps.port).get("/apps.html")
    assert status == 200 and "/flask/" in page


def test_nothing_that_the_applications_did_was_an_alarm(apps):
    """The last: after all that the others asked for."""
    assert json.loads(apps.cli("alarm", "list", "--json").stdout)["alarms"] == []
