"""What a test step gives back: one Case per test, and helpers that run a command and keep its words."""
import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
WORKERS = 2  # commands that a step runs side by side
TAIL_LINES = 80
IN_MEMORY = "/dev/shm"  # where tests write: ext4 looks long for a free inode where many were freed within seconds
IN_MEMORY_BYTES = 4 << 30


@dataclass
class Case:
    name: str
    ok: bool
    words: str = ""


@dataclass
class Outcome:
    cases: list[Case] = field(default_factory=list)
    skipped: int = 0

    def add(self, name, ok, words=""):
        self.cases.append(Case(name, ok, words))

    def merge(self, other):
        self.cases += other.cases
        self.skipped += other.skipped
        return self

    @property
    def failed(self):
        return [case for case in self.cases if not case.ok]

    @property
    def passed(self):
        return len(self.cases) - len(self.failed)


def scratch_folder():
    """Where the files of tests go: in memory where there is room for them and programs may be run there, else None for the usual place."""
    try:
        there = os.statvfs(IN_MEMORY)
    except OSError:
        return None
    return IN_MEMORY if there.f_bavail * there.f_frsize >= IN_MEMORY_BYTES and not there.f_flag & (os.ST_NOEXEC | os.ST_RDONLY) else None


def tail(text):
    lines = text.rstrip().splitlines()
    return "\n".join(([f"… {len(lines) - TAIL_LINES} lines before …"] if len(lines) > TAIL_LINES else []) + lines[-TAIL_LINES:])


def run(command, env=None, timeout=600, cwd=TREE):
    """(exit code, output); a command that outlives its time is killed and gives 124."""
    try:
        done = subprocess.run([str(c) for c in command], cwd=cwd, env=env, timeout=timeout, text=True, errors="replace",
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return done.returncode, done.stdout
    except subprocess.TimeoutExpired as late:
        words = late.stdout or b""
        words = words.decode(errors="replace") if isinstance(words, bytes) else words
        return 124, f"{words}\nkilled after {timeout} s: {' '.join(map(str, command))}"


def command_case(name, command, env=None, timeout=600):
    code, words = run(command, env, timeout)
    outcome = Outcome()
    outcome.add(name, code == 0, tail(words) + f"\nexit code {code}")
    return outcome


def side_by_side(jobs, workers=WORKERS):
    """Runs functions that return Outcomes, so many at a time; one Outcome in the jobs' order."""
    total = Outcome()
    with ThreadPoolExecutor(max_workers=workers) as pool:
        for outcome in pool.map(lambda job: job(), jobs):
            total.merge(outcome)
    return total


def gtest_outcome(name, report, code, words):
    """Cases of a GoogleTest run. A run that died before its report is one failed case."""
    outcome = Outcome()
    if report.is_file() and report.stat().st_size:
        for suite in json.loads(report.read_text())["testsuites"]:
            for test in suite["testsuite"]:
                full = f"{name}: {suite['name']}.{test['name']}"
                if test.get("result") == "SKIPPED" or test.get("status") == "NOTRUN":
                    outcome.skipped += 1
                else:
                    failures = [f["failure"] for f in test.get("failures", [])]
                    outcome.add(full, not failures, "\n".join(failures))
    if code != 0 and not outcome.failed:
        outcome.add(name, False, tail(words) + f"\nexit code {code}")
    elif not outcome.cases and not outcome.skipped:
        outcome.add(name, code == 0, tail(words))  # a program of its own, not GoogleTest's
    return outcome
