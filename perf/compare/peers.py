"""The servers of applications that are compared: front end and application on one core, and the time of both counts.

Each pair runs the same application (apps/). The peers are set up as their manuals advise for one core; where there was
a choice, the faster one was taken.
"""
import os
import select
import shutil
import socket
import subprocess
import time

import machine
import procfs
import servers
from servers import TREE, Nginx, Penstock, StartFailed

FCGI_KEPT = 320         # connections that nginx keeps: as many as answer_fastcgi.c has threads
PHP_CHILDREN = 8
PHP_KEPT = 4            # connections that nginx keeps to php-fpm: each holds a child, and others must stay free
HUNG_CLIENTS = 1000
APP_USER = {"user": "www-data", "group": "www-data", "extra_groups": []} if os.geteuid() == 0 else {}


def installed(name):
    return shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")


def package_version(name):
    return machine.command_line("dpkg-query", "-W", "-f", "${Version}\n", name).partition("-")[0].rpartition(":")[2]


def make_applications(scratch):
    """Copies of the applications where every user can read them, and a folder where every user can make a socket."""
    apps = scratch / "apps"
    apps.mkdir(mode=0o755)
    for name in ("answer.py", "answer.php"):
        shutil.copy(servers.HERE / "apps" / name, apps)
    shutil.copy(TREE / "build/perf/compare/apps/answer_worker", apps)
    (scratch / "run").mkdir()
    (scratch / "run").chmod(0o1777)


class WithProgram:
    """A front end (the next class) with a program of its own behind it, at a socket in the file system."""
    program_as = APP_USER  # as what user it starts

    def program(self):
        raise NotImplementedError

    @property
    def socket(self):
        return self.scratch / "run" / f"{self.name}.sock"

    def start(self):
        self.application_process = self.spawn(self.program(), umask=0, cwd=self.scratch / "apps", **self.program_as)
        deadline = time.monotonic() + servers.START_TIMEOUT_S
        while not self.listens():
            if self.application_process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise StartFailed(f"the application of {self.name} does not start: " + (self.scratch / f"{self.name}.log").read_text()[-2000:])
            time.sleep(0.05)
        super().start()

    def listens(self):
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(str(self.socket))
            return True
        except OSError:
            return False

    def family(self):
        return super().family() + procfs.family(self.application_process.pid)

    def stop(self):
        super().stop()
        if getattr(self, "application_process", None) is not None:
            servers.end_family(self.application_process)
            self.application_process = None
            self.socket.unlink(missing_ok=True)


class NginxFastcgi(WithProgram, Nginx):
    name, what = "nginx-fastcgi", "nginx → FastCGI (libfcgi)"

    def binary(self):
        program = TREE / "build/perf/compare/apps/answer_fastcgi"
        return super().binary() if program.exists() else None

    def program(self):
        return [TREE / "build/perf/compare/apps/answer_fastcgi", self.socket]

    @property
    def program_as(self):
        return {}  # the build folder need not be open to others

    def application(self):
        return {"UPSTREAM": f"upstream app {{ server unix:{self.socket}; keepalive {FCGI_KEPT}; }}",
                "LOCATION": "location /app { include /etc/nginx/fastcgi_params; fastcgi_pass app; fastcgi_keep_conn on; }"}

    def version(self):
        return f"{super().version()} with libfcgi {package_version('libfcgi0ldbl')}"


class NginxUwsgi(WithProgram, Nginx):
    name, what = "nginx-uwsgi", "nginx → uWSGI"

    def binary(self):
        return super().binary() if installed("uwsgi") else None

    def program(self):
        return [installed("uwsgi"), "--plugin", "python3", "--socket", self.socket, "--chmod-socket=666", "--listen", "1024", "--processes", "1",
                "--module", "answer:application", "--need-app", "--disable-logging"]

    def application(self):
        return {"UPSTREAM": "", "LOCATION": f"location /app {{ include /etc/nginx/uwsgi_params; uwsgi_pass unix:{self.socket}; }}"}

    def version(self):
        return f"{super().version()} with uWSGI {package_version('uwsgi-core')}"


class NginxGunicorn(WithProgram, Nginx):
    name, what = "nginx-gunicorn", "nginx → gunicorn"

    def binary(self):
        return super().binary() if installed("gunicorn") else None

    def program(self):
        return [installed("gunicorn"), "--bind", f"unix:{self.socket}", "--workers", "1", "--backlog", "1024", "--log-level", "error",
                "--worker-tmp-dir", self.scratch / "run", "answer:application"]

    def application(self):
        return {"UPSTREAM": f"upstream app.example {{ server unix:{self.socket}; }}", "LOCATION": "location /app { proxy_pass http://app.example; }"}

    def version(self):
        return f"{super().version()} with gunicorn {package_version('gunicorn')}"


class PhpFpm(WithProgram):
    program_as = {}  # it changes its user itself

    @staticmethod
    def php():
        return next((found for version in ("", "8.4", "8.3", "8.2", "8.1") if (found := installed(f"php-fpm{version}"))), None)

    def binary(self):
        return super().binary() if self.php() else None

    def program(self):
        users = "user = www-data\ngroup = www-data\n" if os.geteuid() == 0 else ""
        config = self.scratch / f"{self.name}.fpm.conf"
        config.write_text(f"[global]\nerror_log = {self.scratch}/{self.name}.fpm.log\ndaemonize = no\n[www]\n{users}listen = {self.socket}\n"
                          f"listen.mode = 0666\nlisten.backlog = 1024\npm = static\npm.max_children = {PHP_CHILDREN}\n")
        return [self.php(), "--nodaemonize", "--fpm-config", config]

    def version(self):
        return f"{super().version()} with php-fpm {package_version(os.path.basename(self.php()).replace('php-fpm', 'php') + '-fpm')}"


class NginxPhp(PhpFpm, Nginx):
    name, what = "nginx-php-fpm", "nginx → php-fpm"

    def application(self):
        script = self.scratch / "apps/answer.php"
        return {"UPSTREAM": f"upstream app {{ server unix:{self.socket}; keepalive {PHP_KEPT}; }}",
                "LOCATION": "location /app { include /etc/nginx/fastcgi_params; "
                            f"fastcgi_param SCRIPT_FILENAME {script}; fastcgi_pass app; fastcgi_keep_conn on; }}"}


class PenstockPool(Penstock):
    """penstock with one pool at /app."""
    settings = {}

    def pool(self):
        """`settings` begin with a letter for a key of the pool, else stand for themselves."""
        keys = {"site.bench.route.app.prefix": "/app", "site.bench.route.app.handler": "pool", "site.bench.route.app.pool": "app",
                "pool.app.workers_min": 1, **self.settings}
        return "\n".join(f"{key} = {value}" for key, value in keys.items()).replace("@APPS@", str(self.scratch / "apps"))


class PenstockNative(PenstockPool):
    name, what = "penstock-native", "penstock, C worker"
    settings = {"pool.app.runtime": "external", "pool.app.app": "@APPS@/answer_worker"}


class PenstockOpen(PenstockNative):
    name, what = "penstock-open", "penstock, C worker with the weakest sandbox"
    settings = PenstockNative.settings | {"pool.app.identity": "open", "pool.app.sandbox.tier": "landlock", "identity.open.syscalls": "full",
                                          "identity.open.network": "client", "identity.open.read": "/", "identity.open.write": "/",
                                          "identity.open.execute": "/", "identity.open.processes_max": 0}


class PenstockLandlock(PenstockNative):
    name, what = "penstock-landlock", "penstock, C worker in tier landlock"
    settings = PenstockNative.settings | {"pool.app.sandbox.tier": "landlock"}


class PenstockNs(PenstockNative):
    name, what = "penstock-ns", "penstock, C worker in tier ns"
    settings = PenstockNative.settings | {"pool.app.sandbox.tier": "ns"}


class PenstockApart(PenstockNative):
    """The worker on another core than the server: where there are but two, on that of the load."""
    name, what = "penstock-apart", "penstock, C worker on a core of its own"

    def pool(self):
        free = sorted(os.sched_getaffinity(0) - set(machine.sibling_free_pair()))
        return super().pool() + f"\npool.app.cpus = {free[0] if free else machine.sibling_free_pair()[1]}"


class PenstockWsgi(PenstockPool):
    name, what = "penstock-wsgi", "penstock, WSGI"
    settings = {"pool.app.runtime": "wsgi", "pool.app.app": "answer:application", "pool.app.directory": "@APPS@"}

    def binary(self):
        return super().binary() if (TREE / "build/pool/runtimes/penstock-wsgi").exists() else None


class PenstockPhp(PhpFpm, PenstockPool):
    name, what = "penstock-php", "penstock → php-fpm"

    def pool(self):
        return super().pool() + (f"\npool.app.runtime = fastcgi\npool.app.app = unix:{self.socket}\npool.app.directory = {self.scratch}/apps\n"
                                 f"pool.app.concurrency = {3 * PHP_CHILDREN}\npool.app.connections = {PHP_CHILDREN}")


class PenstockFile(Penstock):
    name, what = "penstock-file", "penstock, the same bytes from a file"

    def path(self, scenario):
        return "/answer.txt"


class PenstockHung(PenstockNative):
    """Files, beside a pool that is full of requests which are never answered."""
    name, what = "penstock-hung", "penstock, a file beside a hung pool"
    settings = PenstockNative.settings | {"pool.app.ping_interval": 0, "pool.app.request_timeout": 0, "pool.app.queue_timeout": 0}

    def path(self, scenario):
        return "/answer.txt"

    def start(self):
        super().start()
        self.clients = []
        for _ in range(HUNG_CLIENTS):
            client = socket.create_connection(("127.0.0.1", self.port), timeout=10)
            client.sendall(b"GET /app/hang HTTP/1.1\r\nHost: hung\r\n\r\n")
            self.clients.append(client)

    def counters(self):
        poller = select.poll()
        for client in self.clients:
            poller.register(client, select.POLLIN)
        if answered := poller.poll(0):
            raise RuntimeError(f"{self.name}: {len(answered)} requests of {HUNG_CLIENTS} were answered by a pool that should hang")
        return super().counters()

    def stop(self):
        for client in getattr(self, "clients", []):
            client.close()
        self.clients = []
        super().stop()


class SystemCalls:
    """Counts the system calls of processes while it is open, in the kernel, by perf: {pid: calls}, or None where that is not possible."""

    def __init__(self, scratch, pids):
        self.running = {}
        for pid in pids if installed("perf") else []:
            out = scratch / f"calls.{pid}"
            self.running[pid] = out, subprocess.Popen(["perf", "stat", "-x", ",", "-e", "raw_syscalls:sys_enter", "-o", out, "-p", str(pid)],
                                                      stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.5 if self.running else 0)

    def stop(self):
        counts = {}
        for pid, (out, process) in self.running.items():
            process.send_signal(2)
            process.wait()
            lines = out.read_text().splitlines() if out.exists() else []
            words = next((line.split(",")[0] for line in lines if "sys_enter" in line), "")
            counts[pid] = int(words) if words.isdigit() else 0 if words == "<not counted>" else None  # that one did not run at all
        return counts if counts and None not in counts.values() else None


KINDS = {kind.name: kind for kind in (PenstockNative, PenstockOpen, PenstockLandlock, PenstockNs, PenstockApart, PenstockFile, PenstockHung, PenstockWsgi, PenstockPhp,
                                      NginxFastcgi, NginxUwsgi, NginxGunicorn, NginxPhp)}
