"""A real browser: headless Chromium behind ChromeDriver, driven by the W3C WebDriver protocol over plain HTTP."""
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from http_client import wait_until
from instance import processes_of

WAIT_S = 60  # for whatever has to happen: a browser on a loaded machine is slow
STOP_S = 15
DRIVERS = 20
PORT = re.compile(r"started successfully on port (\d+)")
FLAGS = ("--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update "
         "--disable-sync --disable-dev-shm-usage --no-proxy-server").split()
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key of a web element's id in JSON: WebDriver, section 12
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class WebDriverError(Exception):
    """The driver's answer to a command that failed."""


def start_driver(folder):
    """A ChromeDriver and its port. It takes a free port of IPv6 and ends when IPv4 has the same number in use (a connection of
    another test, say): then the next one has better luck."""
    said = []
    for i in range(DRIVERS):
        words = folder / f"driver{i}.out"
        with open(words, "wb") as out:
            driver = subprocess.Popen(["chromedriver", "--port=0"], stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=folder,
                                      env={**os.environ, "HOME": str(folder)}, start_new_session=True)
        wait_until(lambda: PORT.search(words.read_text()) or driver.poll() is not None, WAIT_S, what="ChromeDriver listens or ends")
        if port := PORT.search(words.read_text()):
            return driver, port[1]
        said.append(words.read_text())
        if "port not available" not in said[-1]:
            break
    raise AssertionError("ChromeDriver does not start:\n" + "\n".join(said))


class Element:
    def __init__(self, browser, reference):
        self.browser, self.path = browser, f"/element/{reference[ELEMENT]}"

    def click(self):
        self.browser.command("POST", f"{self.path}/click", {})

    def type(self, text):
        """Keys; for a file input the path of the file to choose."""
        self.browser.command("POST", f"{self.path}/value", {"text": str(text)})

    def property(self, name):
        return self.browser.command("GET", f"{self.path}/property/{name}")


class Browser:
    """A driver, a Chromium with a new profile, one window. `close` ends everything that was started."""

    def __init__(self, base, *flags):
        self.base, self.session = base, ""
        self.dir = Path(tempfile.mkdtemp(prefix="penstock-browser-"))
        self.downloads = self.dir / "downloads"
        self.downloads.mkdir()
        self.driver, port = start_driver(self.dir)
        try:
            self.url = f"http://127.0.0.1:{port}/session"
            options = {"binary": shutil.which("chromium"), "args": [*FLAGS, *flags, f"--user-data-dir={self.dir}/profile"],
                       "prefs": {"download.default_directory": str(self.downloads), "download.prompt_for_download": False}}
            wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}, "timeouts": {"implicit": WAIT_S * 1000}}
            self.session = "/" + self.command("POST", "", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        except BaseException:
            self.close()
            raise

    def command(self, method, path, body=None):
        """The value of the driver's answer."""
        request = urllib.request.Request(self.url + self.session + path, None if body is None else json.dumps(body).encode(),
                                         {"Content-Type": "application/json"}, method=method)
        try:
            return json.load(DIRECT.open(request, timeout=2 * WAIT_S))["value"]
        except urllib.error.HTTPError as error:
            raise WebDriverError(f"{method} {path}: {error.read().decode(errors='replace')}") from None

    def open(self, path):
        """Goes there and waits until the page is loaded; the status of its answer."""
        self.command("POST", "/url", {"url": self.base + path})
        return self.run("return performance.getEntriesByType('navigation')[0].responseStatus")

    def find(self, selector):
        """The first element; waits for one."""
        return Element(self, self.command("POST", "/element", {"using": "css selector", "value": selector}))

    def run(self, script):
        return self.command("POST", "/execute/sync", {"script": script, "args": []})

    def text(self):
        try:
            return self.run("return document.body ? document.body.innerText : ''")
        except WebDriverError as error:  # asked between two pages
            return str(error)

    def wait_text(self, wanted):
        """The page's text once it has what is wanted; pages may follow each other meanwhile."""
        deadline = time.monotonic() + WAIT_S
        while wanted not in (seen := self.text()):
            assert time.monotonic() < deadline, f"no '{wanted}' within {WAIT_S} s in: {seen}"
            time.sleep(0.05)
        return seen

    def processes(self):
        """What lives of the driver, of Chromium and of its helpers: by session, or by the folder in their words."""
        return processes_of(self.driver.pid, str(self.dir))

    def close(self):
        def is_over():
            for pid in self.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return not self.processes()
        try:
            if self.session:
                self.command("DELETE", "")
        finally:
            self.driver.kill()
            self.driver.wait()
            wait_until(is_over, STOP_S, what="every process of the browser has ended")
            shutil.rmtree(self.dir, ignore_errors=True)
