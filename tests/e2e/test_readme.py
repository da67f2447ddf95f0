"""The five minutes of the README, as they are printed: only ports, the binary and the places under /tmp are others."""
import re
import signal
import subprocess
import sys

import pytest
from http_client import fetch, wait_until
from instance import BINARY, TREE, Instance, free_port


class Reader:
    """Somebody who types what the README says."""

    def __init__(self, user):
        self.place = Instance(user=user)  # its folders, its user, and an end for what was started
        self.place.dir.chmod(0o1777)  # as /tmp is
        self.place.file.unlink()
        self.port = self.place.port
        text = (TREE / "README.md").read_text()
        self.blocks = [self.here(block) for block in re.findall(r"```\n(.*?)```", text.partition("## Five minutes")[2].partition("## On bare metal")[0], re.S)]

    def here(self, text):
        text = text.replace("/tmp/", f"{self.place.dir}/").replace("build/penstock", str(BINARY)).replace(":8080", f":{self.port}")
        return text.replace(f" [::1]:{self.port}", f" [::1]:{free_port()}")

    def block(self, word):
        found = [block for block in self.blocks if word in block]
        assert len(found) == 1, f"{len(found)} blocks have {word!r}"
        return found[0]

    def types(self, text):
        done = subprocess.run([*self.place.as_user(), "bash", "-ec", text], capture_output=True, text=True, timeout=30, cwd=self.place.dir,
                              stdin=subprocess.DEVNULL)
        assert done.returncode == 0, f"{text}: {done.stdout}{done.stderr}"
        return done.stdout

    def starts(self, command):
        self.place.command, self.place.control = command.split(), self.place.dir / "penstock"
        assert command.endswith(f"--control {self.place.control}")
        self.place.command = self.place.command[:-2]
        self.place.start(wait=False)
        wait_until(self.answers, 10, what=f"{command} answers: {self.place.output()}")

    def answers(self):
        try:
            return fetch(self.port, "/").status == 200
        except OSError:
            return False


@pytest.fixture
def reader(user):
    one = Reader(user)
    yield one
    one.place.remove()


def test_a_folder_is_served_as_the_readme_says(reader):
    serve, curl = reader.block("penstock serve").strip().split("\n")
    reader.starts(serve)
    assert reader.types(curl).startswith("HTTP/1.1 200 OK")


def test_sites_and_all_commands_are_as_the_readme_says(reader):
    *prepare, run = reader.block("penstock run").strip().split("\n")
    reader.types("\n".join(prepare))
    reader.types(run.replace(" run ", " check ").partition(" --control")[0])
    reader.starts(run)
    assert fetch(reader.port, "/").body == b"hello\n"
    assert fetch(reader.port, "/none").body == b"nothing here\n"
    assert fetch(reader.port, "/old/a?b")["location"] == "/new/a?b"
    assert fetch(reader.port, "/", host="docs.example").status == 200
    commands = [line for word in ("sysctl -w", "cache top", "pool list") for line in reader.block(word).strip().split("\n")]
    assert len(commands) >= 11
    for command in commands:
        if command.split()[1] == "top":  # it goes on until it is told to stop
            command = "timeout -s INT 1 " + command.partition("#")[0] + " || [ $? = 124 ]"
        reader.types(command)
    reader.types(f"{BINARY} check -c {reader.place.dir}/all.conf")
    assert reader.place.stop(signal.SIGINT) == 0
    assert "GET / " in (reader.place.dir / "penstock-access.log").read_text()


def test_tables_and_reports_are_those_of_the_recorded_data():
    """scripts/bench would not find where to put the next."""
    done = subprocess.run([sys.executable, "-B", TREE / "perf/compare/report.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
