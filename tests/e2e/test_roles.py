"""Issue §3, SB7: who runs as whom, behind which barriers, read from /proc and not from what the server says of itself."""
import json
import os
import pwd
import re
import subprocess
from pathlib import Path

from conftest import needs, needs_root
from http_client import wait_until
from instance import BINARY, ONE_SITE, UNPRIVILEGED, command_line, family, tls_lines


def proc_status(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def threads(pid):
    return [int(name) for name in os.listdir(f"/proc/{pid}/task")]


def test_every_role_but_the_supervisor_is_behind_its_barriers(make, user, transport):
    server = make(user=user, transport=transport)
    roles = {name: server.role(name) for name in ("server", "logd")}
    for name, pid in roles.items():
        # The server may serve a moment before logd has shut itself in.
        wait_until(lambda pid=pid: proc_status(pid)["Seccomp"] == "2", what=f"{name} is behind its filter")
        for thread in threads(pid):
            status = proc_status(f"{pid}/task/{thread}")
            assert status["NoNewPrivs"] == "1", (name, thread)
            assert status["Seccomp"] == "2", (name, thread)
            for capability in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
                assert int(status[capability], 16) == 0, (name, thread, capability)


def executable_mappings(pid):
    """What a process has mapped as code: paths, and "" for memory without one."""
    rows = [line.split(maxsplit=5) for line in Path(f"/proc/{pid}/maps").read_text().splitlines()]
    return {row[5] if len(row) > 5 else "" for row in rows if "x" in row[1]} - {"[vdso]", "[vsyscall]"}


@needs("readelf")
@needs("ldd")
def test_neither_front_end_nor_supervisor_loads_code_of_applications(make):
    """SB1: they hold the program, the libraries that it is linked with, and those by which libc looks up users; no code in other memory."""
    def output(*words):
        return subprocess.run([*map(str, words)], check=True, capture_output=True, text=True).stdout
    imported = set(re.findall(r" UND (\w+)", output("readelf", "-W", "--dyn-syms", BINARY)))
    assert "accept4" in imported, "the imports were read"
    assert imported & {"dlopen", "dlmopen", "dlsym", "dlvsym", "fdlopen"} == set()

    def libraries_of(path):
        return {os.path.realpath(library) for library in re.findall(r"(/\S+) \(0x", output("ldd", path))}
    application = BINARY.parent / "pool/sdk/greet.so"
    server = make(ONE_SITE + "site.main.route.app.prefix = /app\nsite.main.route.app.handler = pool\nsite.main.route.app.pool = app\n"
                  f"pool.app.runtime = native\npool.app.app = {application} hello\n")
    assert server.fetch("/app").status == 200
    server.cli("restart-server")
    assert server.fetch("/app").status == 200
    worker = json.loads(server.cli("pool", "show", "app", "--json").stdout)["workers"][0]["pid"]
    assert str(application) in executable_mappings(worker), "and who does is seen"
    for pid in (server.process.pid, server.role("server"), server.role("logd")):
        mapped = executable_mappings(pid)
        of_users = {path for path in mapped if re.fullmatch(r"/usr/lib/\S+/libnss_\w+\.so\.2", path)}  # loaded by libc: nsswitch.conf(5)
        known = {str(BINARY)}.union(of_users, *map(libraries_of, [BINARY, *of_users]))
        assert {path for path in mapped if (os.path.realpath(path) if path else path) not in known} == set(), command_line(pid)


@needs_root
def test_as_root_only_the_supervisor_is_root(make, tmp_path):
    """Of every kind of process that there is: with a key process, and a pool whose worker runs."""
    tls, _ = tls_lines(tmp_path)
    server = make(ONE_SITE + tls + "site.main.route.app.prefix = /app\nsite.main.route.app.handler = pool\nsite.main.route.app.pool = life\n"
                  f"pool.life.runtime = external\npool.life.app = {BINARY.parent}/tests/support/apps/life\npool.life.workers_min = 1\n")
    assert server.fetch("/app/who").status == 200
    supervisor, *others = family(server.process.pid)
    assert proc_status(supervisor)["Uid"].split()[0] == "0"
    assert {name for name in ("server", "logd", "keyd") if server.role(name) in others} == {"server", "logd", "keyd"} and len(others) >= 4
    for pid in others:
        status = proc_status(pid)
        assert "0" not in status["Uid"].split(), command_line(pid)
        assert "0" not in status["Gid"].split(), command_line(pid)
        assert "0" not in status["Groups"].split(), command_line(pid)
        # A worker's first process has a user namespace of its own, in which the bounding set means nothing outside.
        held = ("CapPrm", "CapEff", "CapAmb") if "penstock-init" in command_line(pid) else ("CapPrm", "CapEff", "CapAmb", "CapBnd")
        assert [name for name in held if int(status[name], 16) != 0] == [] and status["NoNewPrivs"] == "1", command_line(pid)


@needs_root
def test_without_root_every_role_is_the_caller_and_one_line_says_what_is_weaker(make):
    server = make(user=UNPRIVILEGED)
    uid = str(pwd.getpwnam(UNPRIVILEGED).pw_uid)
    for pid in family(server.process.pid):
        assert set(proc_status(pid)["Uid"].split()) == {uid}, command_line(pid)
    weaker = [line for line in server.output().splitlines() if "root" in line]
    assert len(weaker) == 1, server.output()


def test_the_status_shows_the_barriers_of_each_role(make, user):
    server = make(user=user)
    wait_until(lambda: all(role["sandbox"] for role in server.status()["roles"]), what="each is there")
    text = server.cli("status").stdout
    roles = {role["role"]: role["sandbox"] for role in server.status()["roles"]}
    assert set(roles) == {"server", "logd"}
    for name, steps in roles.items():
        holds = {step["name"]: step["holds"] for step in steps}
        assert set(holds) == {"identity", "capabilities", "no new privileges", "not dumpable", "landlock files", "landlock network", "landlock scope",
                              "seccomp"}, name
        kernel = [step for step, whether in holds.items() if not whether and not step.startswith("landlock")]
        assert kernel == ([] if user is None and os.geteuid() == 0 else ["identity"]), (name, steps)
        for step in steps:
            assert f"{'+' if step['holds'] else '-'} {step['name']}" in text and step["detail"] in text, (step, text)


def test_the_server_has_no_file_of_the_system_open_for_writing(make):
    server = make(files={"a.txt": "a"})
    server.fetch("/a.txt")
    pid = server.role("server")
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
            flags = int(next(l for l in Path(f"/proc/{pid}/fdinfo/{fd}").read_text().splitlines() if l.startswith("flags:")).split()[1], 8)
        except FileNotFoundError:
            continue
        regular = target.startswith("/") and not target.startswith(("/memfd:", "/dev/", str(server.words)))
        assert not (regular and flags & os.O_ACCMODE != os.O_RDONLY), target


def test_no_role_inherits_the_memory_of_the_supervisor(make):
    """Each role is a fresh execution of the binary: its command line is its own."""
    server = make()
    lines = {command_line(pid) for pid in family(server.process.pid)}
    assert len(lines) == len(family(server.process.pid)), lines


def test_no_child_is_left_when_the_supervisor_dies(make):
    server = make()
    pids = family(server.process.pid)
    server.process.kill()
    server.process.wait()
    wait_until(lambda: not any(Path(f"/proc/{pid}/exe").exists() and "penstock" in command_line(pid) for pid in pids if Path(f"/proc/{pid}").exists()),
               what="the roles end with their supervisor")


def test_the_allocator_that_features_names_is_in_every_role(make):
    server = make()
    listed = json.loads(server.cli("features", "--json").stdout)["features"]
    named = next(feature["available"] for feature in listed if feature["name"] == "mimalloc")
    for pid in family(server.process.pid):
        assert ("/libmimalloc" in Path(f"/proc/{pid}/maps").read_text()) == named, command_line(pid)
