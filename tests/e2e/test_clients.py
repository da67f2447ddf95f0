"""The clients that people use: curl, wget, wrk and a browser get what is there."""
import json
import re
import subprocess

import pytest
from conftest import needs
from instance import ONE_SITE, QUICK

PAGE = b"""<!doctype html><html><head><meta charset="utf-8"><title>a page</title><link rel="stylesheet" href="style.css"></head>
<body><p id="said">before</p><img src="picture.svg" onload="document.body.dataset.picture = 'loaded'">
<script src="script.js"></script></body></html>"""

FILES = {
    "index.html": PAGE, "style.css": "#said { color: rgb(1, 2, 3) }", "script.js": "fetch('data.json').then(r => r.json()).then(d => { "
    "document.getElementById('said').textContent = d.text + ' ' + getComputedStyle(document.getElementById('said')).color; document.body.dataset.done = 1 })",
    "picture.svg": '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', "data.json": '{"text": "from json"}',
    "big.bin": bytes(range(256)) * 40000, "text.txt": "some text\n" * 1000, "tree/a.html": '<a href="b.html">', "tree/b.html": "b",
}


@pytest.fixture
def server(make, transport):
    return make(ONE_SITE, files=FILES, transport=transport)


def url(server, path=""):
    return f"http://127.0.0.1:{server.port}/{path}"


def run(*command, **options):
    return subprocess.run(command, capture_output=True, timeout=60, check=True, **options).stdout


@needs("curl")
def test_curl(server, tmp_path):
    assert run("curl", "-sf", url(server)) == PAGE
    assert run("curl", "-sf", "--compressed", url(server, "text.txt")) == b"some text\n" * 1000
    assert b"200 OK" in run("curl", "-sfI", url(server, "big.bin"))
    target = tmp_path / "big.bin"
    target.write_bytes((bytes(range(256)) * 40000)[:1_000_000])
    run("curl", "-sf", "-C", "-", "-o", str(target), url(server, "big.bin"))  # goes on where a download stopped
    assert target.read_bytes() == bytes(range(256)) * 40000
    first = tmp_path / "etag"
    run("curl", "-sf", "--etag-save", str(first), "-o", "/dev/null", url(server, "text.txt"))
    assert run("curl", "-s", "-w", "%{http_code}", "--etag-compare", str(first), url(server, "text.txt")) == b"304"
    codes = run("curl", "-s", "-o", "/dev/null", "-o", "/dev/null", "-w", "%{http_code} %{num_connects}\n", url(server), url(server, "none"))
    assert codes == b"200 1\n404 0\n"  # the second over the same connection
    upload = run("curl", "-s", "-w", "%{http_code}", "-o", "/dev/null", "-T", str(target), url(server, "upload.bin"))
    assert upload in (b"405", b"413")


@needs("curl")
def test_curl_speaks_http_1_0_and_asks_for_parts(server):
    assert run("curl", "-sf", "-0", url(server)) == PAGE
    assert run("curl", "-sf", "-r", "0-9", url(server, "big.bin")) == bytes(range(10))
    assert run("curl", "-sf", "-r", "-5", url(server, "text.txt")) == b"text\n"


@needs("wget")
def test_wget_mirrors(server, tmp_path):
    run("wget", "-q", "-r", "-nH", "-P", str(tmp_path), url(server, "tree/a.html"))
    assert (tmp_path / "tree/b.html").read_bytes() == b"b"
    run("wget", "-q", "-N", "-P", str(tmp_path), url(server, "text.txt"))
    before = (tmp_path / "text.txt").stat()
    run("wget", "-q", "-N", "-P", str(tmp_path), url(server, "text.txt"))
    assert (tmp_path / "text.txt").stat().st_mtime == before.st_mtime


@needs("wrk")
@pytest.mark.parametrize("path", ["", "text.txt", "big.bin", "none"])
def test_wrk_sees_no_error(server, path):
    # Of the large file few connections, and patience: a busy machine moves it a few times a second only.
    clients = ["-c4", "--timeout", "30s"] if path == "big.bin" else ["-c64", "--timeout", "10s"]
    text = run("wrk", "-t1", *clients, "-d1s" if QUICK else "-d2s", url(server, path), text=True)
    assert "Socket errors" not in text, text
    assert int(re.search(r"(\d+) requests in", text)[1]) > 0
    assert ("Non-2xx" in text) == (path == "none")


def is_shown(address):
    """The page with its style, script, picture and what the script has fetched."""
    text = run("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server", "--virtual-time-budget=4000",
               "--dump-dom", address, text=True)
    assert "from json rgb(1, 2, 3)" in text and 'data-done="1"' in text and 'data-picture="loaded"' in text


@needs("chromium")
def test_a_browser_shows_the_page(server):
    is_shown(url(server))


@needs("curl")
def test_the_status_is_for_people_and_programs(server):
    run("curl", "-sf", "-o", "/dev/null", url(server))
    text = server.cli("status").stdout
    assert "server" in text and "logd" in text and len(text.splitlines()) >= 5
    json.loads(server.cli("status", "--json").stdout)
