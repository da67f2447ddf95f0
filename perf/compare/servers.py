"""The servers that are compared: how each is started on its core, asked for its counters, and ended."""
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import procfs

TREE = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
START_TIMEOUT_S = 15


class StartFailed(Exception):
    pass


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def accepts(host, port):
    try:
        socket.create_connection((host, port), timeout=1).close()
        return True
    except OSError:
        return False


def end_family(process, known=()):
    """Ends a process that was started here, and all its descendants: those of now, or where it has ended those `known`."""
    family = procfs.family(process.pid) if process.poll() is None else known
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(3)
    except subprocess.TimeoutExpired:
        pass
    for pid in family:
        if pid not in (os.getpid(), 1) and Path(f"/proc/{pid}").exists():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
    process.wait()


class Server:
    """A server process with all its children, pinned to one core."""
    name = ""
    serves_files = True
    host = "127.0.0.1"
    client = None    # of loads.py; None: the scenario's
    tls_port = None  # where it speaks TLS (secure.py)

    def __init__(self, scratch, core):
        self.scratch, self.core, self.port, self.process = scratch, core, free_port(), None
        self.pids = []

    def binary(self):
        raise NotImplementedError

    def command(self):
        raise NotImplementedError

    def version(self):
        return ""

    def template(self, name, **more):
        """Fills a config template and gives its path."""
        text = (HERE / name).read_text()
        values = {"TLS": "", **more, "PORT": self.port, "DIR": self.scratch, "ROOT": self.scratch / "www", "CORE": self.core}
        for key, value in values.items():
            text = text.replace(f"@{key}@", str(value))
        path = self.scratch / f"{self.name}.conf"
        path.write_text(text)
        return path

    def spawn(self, command, **more):
        """A process on the server's core; what it says goes to the server's log."""
        with open(self.scratch / f"{self.name}.log", "ab") as log:
            return subprocess.Popen(["taskset", "-c", str(self.core), *map(str, command)], stdin=subprocess.DEVNULL,
                                    stdout=log, stderr=log, start_new_session=True, **more)

    def start(self):
        self.process = self.spawn(self.command())
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise StartFailed(f"{self.name} does not answer: " + (self.scratch / f"{self.name}.log").read_text()[-2000:])
            time.sleep(0.05)
        time.sleep(0.3)  # children that follow the listener are there now
        if self.process.poll() is not None:
            raise StartFailed(f"{self.name} ended: " + (self.scratch / f"{self.name}.log").read_text()[-2000:])
        self.pids = self.family()

    def answers(self):
        return accepts(self.host, self.port)

    def family(self):
        """All processes whose time counts, as they are now."""
        return procfs.family(self.process.pid)

    def stop(self):
        if self.process is None:
            return
        end_family(self.process, self.pids)
        self.process = None
        deadline = time.monotonic() + START_TIMEOUT_S
        while self.answers() and time.monotonic() < deadline:  # the kernel lets go of a ring, and its listener, in its own time
            time.sleep(0.05)

    def prepare(self, scenario):
        """Before a scenario: brings the server into the state that the scenario wants."""

    def path(self, scenario):
        return scenario.path

    def counters(self):
        """The server's own counters, for those that have any."""
        return {}


class Nginx(Server):
    name = "nginx"

    def binary(self):
        return shutil.which("nginx", path="/usr/sbin:/usr/bin")

    def command(self):
        user = "user www-data;" if os.geteuid() == 0 else ""
        return [self.binary(), "-p", self.scratch, "-c", self.template("nginx.conf.in", USER=user, NAME=self.name, **self.application())]

    def application(self):
        """What stands in the configuration for an application behind it: nothing, for it serves files."""
        return {"UPSTREAM": "", "LOCATION": ""}

    def version(self):
        return subprocess.run([self.binary(), "-v"], capture_output=True, text=True, check=True).stderr.strip().rpartition("/")[2]


class H2o(Server):
    name = "h2o"

    def binary(self):
        return shutil.which("h2o")

    def command(self):
        user = "user: www-data" if os.geteuid() == 0 else ""
        return [self.binary(), "-m", "worker", "-c", self.template("h2o.conf.in", USER=user)]

    def version(self):
        return subprocess.run([self.binary(), "-v"], capture_output=True, text=True, check=True).stdout.split()[2]


class Penstock(Server):
    name = "penstock"
    transport = "uring"

    def __init__(self, scratch, core):
        super().__init__(scratch, core)
        self.control = scratch / f"{self.name}.sock"

    def binary(self):
        path = TREE / "build/penstock"
        return path if path.exists() else None

    def command(self):
        return [self.binary(), "run", "-c", self.template("penstock.conf.in", TRANSPORT=self.transport, POOL=self.pool()), "--control", self.control]

    def pool(self):
        """What stands in the configuration for an application: nothing, for it serves files."""
        return ""

    def version(self):
        done = subprocess.run(["git", "-C", TREE, "describe", "--always", "--dirty"], capture_output=True, text=True)
        return done.stdout.strip()

    def counters(self):
        done = subprocess.run([self.binary(), "stats", "--json", "--control", self.control], capture_output=True, text=True)
        return json.loads(done.stdout)["counters"] if done.returncode == 0 else {}


class PenstockEpoll(Penstock):
    name = "penstock-epoll"
    transport = "epoll"


class Floor(Server):
    """The canned answer on a bare event loop: no parsing, no files. What no server can beat."""
    name = "floor"
    serves_files = False
    mode = "uring"
    options = ()

    def binary(self):
        path = TREE / "build/perf/load/floor"
        return path if path.exists() else None

    def command(self):
        return [self.binary(), f"--mode={self.mode}", f"--port={self.port}", *self.options]

    def version(self):
        return f"on {self.mode}"

    def prepare(self, scenario):
        """It cannot read that the client wants the connection closed, so it is told at its start."""
        options = ("--close",) if scenario.closes else ()
        if options != self.options:
            self.stop()
            self.options = options
            self.start()


class FloorEpoll(Floor):
    name = "floor-epoll"
    mode = "epoll"


KINDS = {"penstock": Penstock, "penstock-epoll": PenstockEpoll, "nginx": Nginx, "h2o": H2o, "floor": Floor, "floor-epoll": FloorEpoll}
