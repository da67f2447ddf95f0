"""One penstock on one core, with files of its own, and wrk on another: what the programs here that load a single server share."""
import argparse
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "compare"))
import machine
import procfs
import servers


class Bench:
    def __init__(self, server, core, seconds):
        self.server, self.core, self.seconds = server, core, seconds

    def penstock(self, *arguments):
        done = subprocess.run([self.server.binary(), *arguments, "--control", self.server.control], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"penstock {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def set(self, *pairs):
        self.penstock("sysctl", "-w", *pairs)

    def load(self, connections, *options, path="/1k.bin", tls=False):
        """What wrk counted; whatever it met but answers ends this."""
        origin = f"https://127.0.0.1:{self.server.tls_port}" if tls else f"http://127.0.0.1:{self.server.port}"
        command = ["taskset", "-c", str(self.core), "wrk", "-t1", f"-c{connections}", f"-d{self.seconds}s", "-s", str(servers.HERE / "load.lua"),
                   origin + path, "--", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = json.loads([line for line in done.stdout.splitlines() if line.startswith("{")][-1])
        if any(found["errors"].values()) or not found["requests"]:
            sys.exit(f"the load of {path} met errors, or no answer: {found['errors']}")
        return found

    def cpu_us(self, **load):
        """Time of the processor for one request, of all processes of the server."""
        pids = self.server.family()
        before = procfs.cpu_seconds(pids)
        found = self.load(64, **load)
        self.settle()
        return (procfs.cpu_seconds(pids) - before) * 1e6 / found["requests"]

    def settle(self):
        """Until nothing is left to do of what was asked."""


def arguments(doc, rounds, seconds, of):
    """Of a program's command line: `rounds` and `seconds` are what it does unless told, each second `of` what."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--seconds", type=int, default=seconds, help=f"of each {of}")
    parser.add_argument("--json", action="store_true", help="at the end a line for machines")
    return parser.parse_args()


@contextlib.contextmanager
def running(bench, kind, seconds, prepare=None):
    """A `bench` of a server of that `kind`, with 1k.bin and what `prepare(scratch)` makes before it starts; and the scratch folder."""
    core, load_core = machine.sibling_free_pair()
    scratch = Path(tempfile.mkdtemp(prefix="penstock-load-"))
    scratch.chmod(0o755)
    server = kind(scratch, core)
    try:
        (scratch / "www").mkdir()
        (scratch / "www/1k.bin").write_bytes(b"x" * 1024)
        if prepare:
            prepare(scratch)
        server.start()
        yield bench(server, load_core, seconds), scratch
    except servers.StartFailed as error:
        sys.exit(str(error))
    finally:
        server.stop()
        shutil.rmtree(scratch, ignore_errors=True)
