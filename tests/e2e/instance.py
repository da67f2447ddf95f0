"""A running penstock: started with its own config, port, control socket and folders; asked; ended."""
import array
import contextlib
import ctypes
import functools
import itertools
import json
import os
import pwd
import random
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from http_client import Connection, fetch, wait_until

TREE = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("PENSTOCK", TREE / "build/penstock"))
QUICK = bool(os.environ.get("PENSTOCK_TEST_QUICK"))
LONG = bool(os.environ.get("PENSTOCK_TEST_LONG"))  # the numbers that FEATURES.md promises; minutes each
START_S = 10
STOP_S = 15
READY_PATH = "/.ready"  # asked for until it is answered; `records` leaves it out
IO_URING_SETUP, IO_URING_PARAMS_BYTES = 425, 120  # one number on every architecture
UNPRIVILEGED = "daemon"  # a user every Debian has; not the one that roles drop to


def free_port():
    """One that no client is given: a connection of another test would keep a server from listening on all addresses."""
    first_of_clients = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(10_240, max(first_of_clients, 20_480))
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("0.0.0.0", port))
            return port


@functools.cache
def uring_refusal():
    """Why this process may have no io_uring; "" where it may."""
    libc = ctypes.CDLL(None, use_errno=True)
    ring = libc.syscall(IO_URING_SETUP, 1, ctypes.create_string_buffer(IO_URING_PARAMS_BYTES))
    if ring < 0:
        return f"io_uring is refused here: {os.strerror(ctypes.get_errno())}"
    os.close(ring)
    return ""


def stat_fields(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def cpu_seconds(pid):
    """What a process has computed so far."""
    return sum(int(ticks) for ticks in stat_fields(pid)[11:13]) / os.sysconf("SC_CLK_TCK")


def is_idle(pid, seconds=4, share=0.05):
    """Whether it takes no more than this share of a core for so long."""
    before = cpu_seconds(pid)
    time.sleep(seconds)
    return cpu_seconds(pid) - before <= share * seconds


def children(parent):
    """Living children (zombies are not) of a process."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = stat_fields(entry)
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[1]) == parent and fields[0] != "Z":
                found.append(int(entry))
    return found


def family(root):
    found = [root]
    for child in children(root):
        found += family(child)
    return found


def command_line(pid):
    """The words of a process; empty when it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def processes_of(session, word):
    """Living processes of a session, and those with the word in their command line."""
    found = []
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        try:
            state, _, _, its_session = stat_fields(pid)[:4]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state != "Z" and (int(its_session) == session or word in command_line(pid)):
            found.append(pid)
    return found


def resident(pid):
    """Bytes of memory that a process has, with what it shares."""
    return int(next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")).split()[1]) << 10


def eventfds(pid):
    """The eventfds that a process has, by their number in the kernel."""
    texts = [one.read_text() for one in Path(f"/proc/{pid}/fdinfo").iterdir()]
    return {line.split()[1] for text in texts for line in text.splitlines() if line.startswith("eventfd-id:")}


def memory_of(pid):
    """What is in the pages that a process has ever touched and that can be read, a stretch of them at a time; proc(5), maps and pagemap."""
    page = os.sysconf("SC_PAGESIZE")
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory, open(f"/proc/{pid}/pagemap", "rb", 0) as pagemap:
        for line in maps:
            start, end = (int(part, 16) for part in line.split()[0].split("-"))
            if "r" not in line.split()[1] or "[v" in line:
                continue
            pagemap.seek(start // page * 8)
            is_there = [entry >> 62 != 0 for entry in array.array("Q", pagemap.read((end - start) // page * 8))]
            for there, stretch in itertools.groupby(range(len(is_there)), key=is_there.__getitem__):
                pages = list(stretch)
                if there:
                    with contextlib.suppress(OSError):  # its page, but not for others to read
                        memory.seek(start + pages[0] * page)
                        yield memory.read(len(pages) * page)


def make_pair(directory, file, name=None, kind=("ec", "-pkeyopt", "ec_paramgen_curve:P-256")):
    """The paths of a certificate for `name` (or that of the file) that signs itself, and of its key."""
    cert, key, name = f"{directory}/{file}.pem", f"{directory}/{file}.key", name or file
    subprocess.run(["openssl", "req", "-x509", "-newkey", *kind, "-nodes", "-days", "3",
                    "-keyout", key, "-out", cert, "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"],
                   check=True, capture_output=True)
    return cert, key


class Secure:
    """The TLS side of a server: where it is and whom to trust."""

    def __init__(self, certificate, port):
        self.certificate, self.port = certificate, port

    def client(self, protocols):
        context = ssl.create_default_context(cafile=self.certificate)
        context.set_alpn_protocols(protocols)
        return context


def tls_lines(directory):
    """Lines of configuration that put https beside the site main, and its client side."""
    certificate, key = make_pair(directory, "localhost")
    secure = Secure(certificate, free_port())
    return f"server.listen_tls = 127.0.0.1:{secure.port}\nsite.main.tls.certificate = {certificate}\nsite.main.tls.key = {key}\n", secure


class Instance:
    """`penstock run` with a config text; {PORT}, {DIR}, {WWW} and {LOGS} in it are filled in."""

    def __init__(self, config="", *, transport=None, user=None, wrapper=(), listen=True, command=None, device=None, falls_back=False):
        self.dir = Path(tempfile.mkdtemp(prefix="penstock-e2e-"))
        self.dir.chmod(0o755)
        self.www, self.logs, self.run = self.dir / "www", self.dir / "logs", self.dir / "run"
        for folder in (self.www, self.logs, self.run):
            folder.mkdir(mode=0o755)
        self.logs.chmod(0o777)  # the log writer has a user of its own
        self.port = free_port()
        self.control = self.run / "control"
        self.file = self.dir / "penstock.conf"
        self.user, self.wrapper, self.command = user, list(wrapper), command
        self.transport = transport
        self.falls_back = falls_back  # to another transport than was asked for: the test is of that
        lines = [f"server.listen = 127.0.0.1:{self.port}"] if listen else []
        lines += [f"server.transport = {transport}"] if transport else []
        self.base = "\n".join(lines) + "\n"
        self.tap = None
        if transport == "dpdk":  # in own_network()
            from dpdk import chosen_device
            self.tap = device or chosen_device()
            self.port, self.base = self.tap.port, self.tap.config()
        self.write_config(config)
        if user:
            entry = pwd.getpwnam(user)
            for path in (self.dir, self.www, self.run):
                os.chown(path, entry.pw_uid, entry.pw_gid)
        self.process = None
        self.words = self.dir / "output"

    # --- files -----------------------------------------------------------------------------

    def fill(self, text):
        for key, value in {"PORT": self.port, "DIR": self.dir, "WWW": self.www, "LOGS": self.logs}.items():
            text = text.replace("{" + key + "}", str(value))
        return text

    def write_config(self, text):
        """Saves the config as an editor does: a new file renamed over the old one."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(self.base + self.fill(text))
        fresh.chmod(0o644)
        fresh.rename(self.file)

    def put(self, path, body, mode=0o644):
        target = self.www / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(body if isinstance(body, bytes) else body.encode())
        target.chmod(mode)
        return target

    # --- the process -----------------------------------------------------------------------

    def as_user(self):
        return ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups", "--"] if self.user else []

    def start(self, wait=True, env=None, pass_fds=()):
        command = self.command or [BINARY, "run", "-c", self.file]
        full = [*self.as_user(), *self.wrapper, *map(str, command), "--control", str(self.control)]
        with open(self.words, "ab") as words:
            self.process = subprocess.Popen(full, stdin=subprocess.DEVNULL, stdout=words, stderr=words, cwd=self.dir, env=env,
                                            start_new_session=True, pass_fds=pass_fds)
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self):
        deadline = time.monotonic() + START_S
        if self.tap:
            assert self.tap.bring_up(START_S), self.output()
        while True:
            assert self.process.poll() is None, f"exited with {self.process.returncode}: {self.output()}"
            try:
                with Connection(self.port, timeout=1) as probe:
                    probe.request(READY_PATH)
                break
            except (OSError, Exception) as error:  # not there yet, whatever the reason
                assert time.monotonic() < deadline, f"no answer within {START_S} s ({error!r}): {self.output()}"
                time.sleep(0.02)
        self.check_transport()

    def check_transport(self):
        """That the servers use the one that was asked for: no test is one of epoll by chance."""
        wanted = "uring" if self.transport is None and self.command is None else self.transport
        if wanted not in ("uring", "epoll") or self.falls_back or not self.words.exists():
            return
        used = set(wait_until(lambda: re.findall(r"server is ready: .* transport (\w+)", self.words.read_text(errors="replace")),
                              START_S, what="a transport is told"))
        if used == {"epoll"} and wanted == "uring" and uring_refusal():
            if self.transport:
                pytest.skip(uring_refusal())
            return
        assert used == {wanted}, self.output()

    def stop(self, how=signal.SIGTERM):
        """Ends it and gives its exit code."""
        if self.process is None:
            return None
        pids = family(self.process.pid) if self.process.poll() is None else []
        if self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
        code = self.process.wait()
        for pid in pids:
            if BINARY.name in command_line(pid):
                os.kill(pid, signal.SIGKILL)
        self.process = None
        return code

    def remove(self):
        self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)

    def output(self):
        return self.words.read_text(errors="replace")[-4000:]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()

    # --- asking it -------------------------------------------------------------------------

    def cli(self, *arguments, check=True, user=None):
        """A command of penstock against this instance: CompletedProcess with text."""
        prefix = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--"] if user else self.as_user()
        done = subprocess.run([*prefix, str(BINARY), *map(str, arguments), "--control", str(self.control)], capture_output=True,
                              text=True, timeout=20, stdin=subprocess.DEVNULL)
        assert not check or done.returncode == 0, f"{arguments}: {done.returncode} {done.stdout}{done.stderr}"
        return done

    def sysctl(self, **settings):
        """Live changes: keys with '.' written as '__'."""
        return self.cli("sysctl", "-w", *[f"{key.replace('__', '.')}={value}" for key, value in settings.items()])

    def status(self):
        return json.loads(self.cli("status", "--json").stdout)

    def generation(self):
        """The number of the configuration in force."""
        return self.status()["config"]["generation"]

    def counter(self, name):
        return json.loads(self.cli("stats", "--json").stdout)["counters"][name]

    def fetch(self, target="/", **options):
        return fetch(self.port, target, **options)

    def connect(self, **options):
        return Connection(self.port, **options)

    def role(self, name, seconds=5):
        """The process id of a role: server or logd."""
        def find():
            pids = [pid for pid in family(self.process.pid)[1:] if re.search(rf"--role {name}\b", command_line(pid))]
            return pids[0] if len(pids) == 1 else None  # two while one replaces the other
        return wait_until(find, seconds, what=f"one process of role {name}")

    # --- its log ---------------------------------------------------------------------------

    def log_lines(self, name="access.log"):
        """Its whole lines: the last may be half written."""
        path = self.logs / name
        text = path.read_text(errors="surrogateescape") if path.exists() else ""
        return text[:text.rfind("\n") + 1].splitlines()

    def records(self, name="access.log"):
        """The records of a log in JSON."""
        records = [json.loads(line) for line in self.log_lines(name)]
        records.sort(key=lambda r: r.get("timestamp", ""))  # each reactor's are written together
        return [r for r in records if r.get("path") != READY_PATH]

    def settled_records(self):
        """The records once no more come."""
        seen = [-1]

        def is_still():
            seen.append(len(self.log_lines()))
            return len(seen) > 10 and len(set(seen[-10:])) == 1
        wait_until(is_still, what="the log rests", every=0.03)
        return self.records()

    def wait_records(self, count, name="access.log", seconds=5):
        return wait_until(lambda: (lambda r: r if len(r) >= count else None)(self.records(name)), seconds,
                          what=f"{count} log records; there are {len(self.records(name))}")


def sub_statuses(records):
    """Status and sub-status of each record, as 400.26."""
    return [f"{record['status']}.{record['substatus']}" for record in records]


JSON_LOG = ("log.access.format = json\nlog.access.path = {LOGS}/access.log\n"
            "log.access.fields = x-timestamp c-ip cs-method cs-uri-stem cs-uri-query sc-status sc-substatus x-reason x-cache sc-bytes cs-bytes\n")
ONE_SITE = "site.main.hosts = *\nsite.main.root = {WWW}\n"
