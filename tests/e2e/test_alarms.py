"""Issue 3 §4: what a worker tries that it must not is refused, the worker ended or frozen by policy, and an alarm is raised
with pool, process and the requests inside; programs are booked from start to end; `penstock alarm test` goes the whole way."""
import errno
import json
import os
import pwd
import stat
import time
from pathlib import Path
from statistics import median

import pytest
from conftest import needs_root
from http_client import Closed, Connection, wait_until
from instance import BINARY, ONE_SITE, QUICK, command_line, family
from test_pools_life import alive, status_of

LIFE = BINARY.parent / "tests/support/apps/life"
SHELL = str(Path("/bin/sh").resolve())
INTRUSIONS = int(os.environ.get("PENSTOCK_INTRUSIONS", "11"))
PROGRAMS = int(os.environ.get("PENSTOCK_PROGRAMS", "10" if QUICK else "40"))  # started, each of them booked
BENIGN = int(os.environ.get("PENSTOCK_BENIGN", "40" if QUICK else "120"))

HOOK = """#!/bin/sh
now=$(date +%s%N)
{ echo "$now"; id -u; echo "$*"; env | grep '^ALARM_'; } > {LOGS}/words.$ALARM_NUMBER.tmp
cat > {LOGS}/alarm.$ALARM_NUMBER.tmp
mv {LOGS}/words.$ALARM_NUMBER.tmp {LOGS}/words.$ALARM_NUMBER
mv {LOGS}/alarm.$ALARM_NUMBER.tmp {LOGS}/alarm.$ALARM_NUMBER.json
"""

CGI = """import os, sys
what = os.environ.get("QUERY_STRING", "")
answer = "fine"
try:
    if what == "shell":
        os.execv("/bin/sh", ["/bin/sh", "-c", "echo; exit 0"])
    if what == "loader":
        os.execv("/lib64/ld-linux-x86-64.so.2", ["ld", "/bin/true"])
    if what == "search":
        os.execvpe("no-such-program", ["x"], {"PATH": "/nowhere:/usr/bin:/bin"})
    if what == "child":
        answer = str(os.waitstatus_to_exitcode(os.spawnv(os.P_NOWAIT, sys.executable, ["python3", "-c", "raise SystemExit(7)"]) and os.wait()[1]))
    if what == "again":
        code = "import os, sys, time; n = int(sys.argv[1]); n and os.execv(sys.executable, sys.orig_argv[:3] + [str(n - 1)]); time.sleep(30)"
        os.execv(sys.executable, ["python3", "-c", code, "12"])
    if what == "away" and os.fork() == 0:
        os.setsid()
    while what == "away":
        os.spawnv(os.P_WAIT, sys.executable, ["python3", "-c", ""])
    if what == "sleep":
        import time
        time.sleep(30)
    if what == "mount":
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mount(None, None, None, 0, None)
        answer = "errno %d" % ctypes.get_errno()
except OSError as error:
    answer = "errno %d" % error.errno
print("Content-Type: text/plain\\n\\n" + answer)
"""

WSGI = """import os
def application(environ, start_response):
    answer = "fine"
    if environ["QUERY_STRING"] == "shell":
        try:
            os.execv("/bin/sh", ["/bin/sh", "-c", "exit 0"])
        except OSError as error:
            answer = "errno %d" % error.errno
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [answer.encode()]
"""

SHELL_OF = {"life": "/life/shell", "scripts": "/scripts/x.py?shell", "py": "/py/?shell"}
FINE_OF = {"life": "/life/who", "scripts": "/scripts/x.py", "py": "/py/"}
has_wsgi = (BINARY.parent / "pool/runtimes/penstock-wsgi").exists()
POOLS = [pool for pool in SHELL_OF if pool != "py" or has_wsgi]


def config(more=""):
    text = ONE_SITE
    for pool in POOLS:
        text += (f"site.main.route.{pool}.prefix = /{pool}/\nsite.main.route.{pool}.handler = pool\nsite.main.route.{pool}.pool = {pool}\n"
                 f"pool.{pool}.rapid_fail.enable = 0\n")
    text += (f"pool.life.runtime = external\npool.life.app = {LIFE}\n"
             "pool.scripts.runtime = cgi\npool.scripts.app = {WWW}/cgi/\npool.scripts.directory = {WWW}/cgi\n"
             "pool.scripts.interpreter.py = /usr/bin/python3\n")
    if has_wsgi:
        text += "pool.py.runtime = wsgi\npool.py.app = hello:application\npool.py.directory = {WWW}/py\n"
    return text + "alarm.exec = {DIR}/hook\n" + more


@pytest.fixture
def start(make):
    def build(more="", **options):
        server = make(config(more), start=False, **options)
        server.put("cgi/x.py", CGI, mode=0o755)
        server.put("py/hello.py", WSGI)
        hook = server.dir / "hook"
        hook.write_text(server.fill(HOOK))
        hook.chmod(0o755)
        return server.start()
    return build


def listed(server, *arguments):
    return json.loads(server.cli("alarm", "list", "--json", *arguments).stdout)["alarms"]


def programs(server, pool="scripts"):
    return json.loads(server.cli("alarm", "programs", pool, "--json").stdout)["programs"]


def told(server, count=1):
    """What alarm.exec was given: (words of its file, JSON), by number."""
    def read():
        files = sorted(server.logs.glob("alarm.*.json"), key=lambda path: int(path.name.split(".")[1]))
        return [((server.logs / f"words.{path.name.split('.')[1]}").read_text().splitlines(), json.loads(path.read_text()))
                for path in files]
    return wait_until(lambda: (lambda all_: all_ if len(all_) >= count else None)(read()), seconds=10, what=f"{count} alarms")


def policy(pool, what):
    return f"pool.{pool}.on_intrusion = {what}\n"


def body(server, target):
    with Connection(server.port, timeout=20) as connection:
        return connection.request(target).body.decode().strip()


def check_alarm(server, pool, target):
    words, alarm = told(server)[0]
    assert words[2].split()[:3] == ["program", pool, str(alarm["worker"])]
    assert (alarm["kind"], alarm["pool"], alarm["what"]) == ("program", pool, SHELL)
    assert alarm["pid"] > 0 and f"ALARM_PID={alarm['pid']}" in words
    assert [request["target"] for request in alarm["requests"]] == [target]
    assert alarm["requests"][0]["client"] == "127.0.0.1" and alarm["requests"][0]["method"] == "GET"
    if os.geteuid() == 0:
        assert words[1] == "65121" or words[1] == str(pwd.getpwnam("penstock-alarm").pw_uid), "alarm.exec is not root"
        assert alarm["uid"] >= 1879048192, "the pool's own user"
    assert f"alarm {alarm['number']} (program): pool {pool}" in server.output()
    return alarm


@pytest.mark.parametrize("pool", POOLS)
def test_refuse_lets_the_worker_live(start, pool):
    server = start(policy(pool, "refuse"))
    assert body(server, SHELL_OF[pool]) == f"errno {errno.EPERM}"
    alarm = check_alarm(server, pool, SHELL_OF[pool])
    assert alarm["action"] == "refused"
    assert status_of(server, FINE_OF[pool]) == 200
    # The same again is counted, and nobody is told.
    assert body(server, SHELL_OF[pool]) == f"errno {errno.EPERM}"
    assert [one["count"] for one in listed(server)] == [2]
    assert len(told(server)) == 1
    wait_until(lambda: listed(server)[0]["delivery"].startswith("told in"), what="the delivery is booked")


@pytest.mark.parametrize("pool", POOLS)
def test_kill_ends_the_worker_and_another_serves(start, pool):
    server = start(policy(pool, "kill"))
    assert status_of(server, FINE_OF[pool]) == 200
    before = json.loads(server.cli("pool", "show", pool, "--json").stdout)["workers"][0]["pid"]
    assert status_of(server, SHELL_OF[pool]) in (0, 502)
    alarm = check_alarm(server, pool, SHELL_OF[pool])
    assert alarm["action"] == "the worker is killed"
    wait_until(lambda: not alive(before), what="the worker is gone")
    wait_until(lambda: status_of(server, FINE_OF[pool]) == 200, what="another worker serves")
    deaths = json.loads(server.cli("journal", "killers", pool, "--json").stdout)["killers"]
    assert [(death["kind"], death["pid"]) for death in deaths] == [("sandbox", before)], "the request is not tried on another"


@pytest.mark.parametrize("pool", POOLS)
def test_freeze_keeps_the_worker_for_inspection(start, pool):
    server = start(policy(pool, "freeze"))
    assert status_of(server, FINE_OF[pool]) == 200
    before = json.loads(server.cli("pool", "show", pool, "--json").stdout)["workers"][0]["pid"]
    assert status_of(server, SHELL_OF[pool]) in (0, 502)
    alarm = check_alarm(server, pool, SHELL_OF[pool])
    assert alarm["action"] == "the worker is frozen"

    def stopped(pid):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    wait_until(lambda: stopped(before) and stopped(alarm["pid"]), what="worker and program stand still")
    shown = json.loads(server.cli("pool", "show", pool, "--json").stdout)["workers"]
    assert [w["state"] for w in shown if w["pid"] == before] == ["frozen"]
    wait_until(lambda: status_of(server, FINE_OF[pool]) == 200, what="another worker serves")


def test_freeze_stops_what_has_a_session_of_its_own_and_what_it_starts(start):
    server = start(policy("scripts", "freeze"))

    def scripts():
        """(state, session) of each."""
        found = [pid for pid in family(server.process.pid) if command_line(pid).startswith(("/usr/bin/python3 ", "python3 "))]
        return {(fields[0], fields[3]) for fields in (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in found)}
    with Connection(server.port, timeout=20) as away:
        away.send("GET /scripts/x.py?away HTTP/1.1\r\nHost: h\r\n\r\n")
        wait_until(lambda: len({session for _, session in scripts()}) == 2, what="one has gone away")
        assert status_of(server, SHELL_OF["scripts"]) in (0, 502)
        assert away.read_response().status == 502, "it is not tried again"
        wait_until(lambda: {state for state, _ in scripts()} == {"T"}, what="all stand still")
        assert len({session for _, session in scripts()}) == 2


def test_contain_is_the_default_and_spares_the_neighbours(start):
    server = start()
    assert body(server, SHELL_OF["scripts"]) == f"errno {errno.EACCES}"
    worker = json.loads(server.cli("pool", "show", "scripts", "--json").stdout)["workers"][0]["pid"]
    assert status_of(server, "/scripts/x.py?mount") in (502, 500), "the program is ended"
    assert alive(worker) and status_of(server, FINE_OF["scripts"]) == 200
    assert {(one["kind"], one["what"], one["action"]) for one in listed(server, "scripts")} == {
        ("program", SHELL, "refused"), ("call", "mount", "the program was killed")}
    # A worker that makes a forbidden call itself is ended.
    pid = pid_of_life(server)
    assert status_of(server, "/life/forbidden") in (0, 502)
    wait_until(lambda: not alive(pid), what="the worker is gone")
    alarm = listed(server, "life")[0]
    assert (alarm["kind"], alarm["what"], alarm["action"], alarm["pid"]) == ("call", "keyctl", "the worker is killed", pid)
    assert [request["target"] for request in alarm["requests"]] == ["/life/forbidden"]


def pid_of_life(server):
    assert status_of(server, "/life/who") == 200
    return json.loads(server.cli("pool", "show", "life", "--json").stdout)["workers"][-1]["pid"]


def test_the_loader_is_no_way_round_the_list(start):
    server = start()
    if not Path("/lib64/ld-linux-x86-64.so.2").exists():
        pytest.skip("another architecture")
    assert body(server, "/scripts/x.py?loader") == f"errno {errno.EACCES}"
    assert listed(server)[0]["what"] == str(Path("/lib64/ld-linux-x86-64.so.2").resolve())


def test_programs_are_booked_from_start_to_end_with_the_right_user(start):
    server, booked = start(), {}
    rounds = PROGRAMS // 2

    def pairs():
        booked.update((p["number"], p) for p in programs(server) if not p["running"])
        return len(booked) == 2 * rounds
    for number in range(rounds):
        assert body(server, "/scripts/x.py?child") == "7"
        if number % 200 == 0:  # the last thousand are kept
            pairs()
    wait_until(pairs, what="every start has its end")
    done = list(booked.values())
    python = str(Path("/usr/bin/python3").resolve())
    assert {p["path"] for p in done} == {python}
    identity = json.loads(server.cli("pool", "show", "scripts", "--json").stdout)["pool"]["identity"]
    assert {p["uid"] for p in done} == {int(identity.split()[1])}, identity
    assert all([r["target"] for r in p["requests"]] == ["/scripts/x.py?child"] for p in done)
    assert sorted(p["end"] for p in done) == sorted(["exited with code 0", "exited with code 7"] * rounds)
    assert {p["parent"] for p in done if p["end"].endswith("7")} == {p["pid"] for p in done if p["end"].endswith("0")}
    runtime = [p for p in programs(server) if p["running"]]
    assert [Path(p["path"]).name for p in runtime] == ["penstock-cgi"]
    assert listed(server) == []


def test_a_program_that_executes_again_and_again_costs_one_descriptor(start):
    server = start()

    def process_descriptors():
        places = Path(f"/proc/{server.process.pid}/fd").iterdir()
        return [place for place in places if os.readlink(place) in ("anon_inode:[pidfd]", "pidfd")]
    assert status_of(server, FINE_OF["scripts"]) == 200
    wait_until(lambda: len([p for p in programs(server) if p["running"]]) == 1, what="the first script has its end")
    before = len(process_descriptors())
    with Connection(server.port, timeout=20) as connection:
        connection.send("GET /scripts/x.py?again HTTP/1.1\r\nHost: h\r\n\r\n")
        wait_until(lambda: [p["end"] for p in programs(server) if not p["running"]].count("executed another program") == 13,
                   what="all of its programs are booked")
        assert len(process_descriptors()) == before + 1


def test_among_many_requests_a_program_is_booked_for_its_own(start):
    server = start()
    slow = []
    for i in range(6):
        connection = Connection(server.port, timeout=20)
        connection.send(f"GET /scripts/x.py/{i}?sleep HTTP/1.1\r\nHost: h\r\n\r\n")
        slow.append(connection)

    def sleepers():
        found = [p for p in programs(server) if p["running"] and p["path"].endswith(Path("/usr/bin/python3").resolve().name)]
        return found if len(found) == len(slow) else None
    found = wait_until(sleepers, what="every request has its program")
    assert all(p["own_first"] for p in found)
    assert sorted(p["requests"][0]["target"] for p in found) == [f"/scripts/x.py/{i}?sleep" for i in range(len(slow))]
    # An attempt names its own request first, and the others that were inside.
    assert body(server, SHELL_OF["scripts"]) == f"errno {errno.EACCES}"
    alarm = listed(server)[0]
    assert alarm["own_first"] and alarm["requests"][0]["target"] == SHELL_OF["scripts"] and len(alarm["requests"]) == len(slow) + 1
    for connection in slow:
        connection.close()


def test_benign_requests_raise_no_alarm(start):
    server = start()
    starts, others = [FINE_OF["scripts"], "/scripts/x.py?child", "/scripts/x.py?search"], [FINE_OF[pool] for pool in POOLS if pool != "scripts"]
    each = 2 if BENIGN < 1000 else 250  # the start of an interpreter takes as long as hundreds of the others
    for begin in range(0, BENIGN, 1000):
        with server.connect() as connection:
            for i in range(begin, min(begin + 1000, BENIGN)):
                target = starts[i // each % len(starts)] if i % each == 0 else others[i % len(others)]
                assert connection.request(target).status == 200, target
    assert listed(server) == []
    assert server.status()["alarms"]["occurrences"] == 0
    assert list(server.logs.glob("alarm.*")) == []


def test_learning_books_and_tells_nobody(start):
    server = start("alarm.learn = 1\npool.scripts.on_intrusion = kill\npool.life.on_intrusion = kill\n")
    assert body(server, SHELL_OF["scripts"]) == f"errno {errno.EACCES}", "Landlock refuses it anyway"
    assert body(server, SHELL_OF["life"]) == f"errno {errno.EPERM}"
    alarms = listed(server)
    assert {(one["pool"], one["learnt"], one["what"]) for one in alarms} == {("scripts", True, SHELL), ("life", True, SHELL)}
    assert list(server.logs.glob("alarm.*")) == []
    server.sysctl(alarm__learn=0)
    assert status_of(server, SHELL_OF["scripts"]) in (0, 502)
    assert told(server)[0][1]["action"] == "the worker is killed"


def test_the_test_goes_the_whole_way(start):
    server = start()
    for pool in POOLS:
        result = json.loads(server.cli("alarm", "test", pool, "--json").stdout)
        assert result["pool"] == pool and result["problem"] == "" and result["delivery"].startswith("told in")
        assert result["alarm"] > 0 and result["noticed_us"] > 0
    given = [alarm for _, alarm in told(server, len(POOLS))]
    assert [(alarm["kind"], alarm["pool"]) for alarm in given] == [("test", pool) for pool in POOLS]
    assert "noticed and refused" in server.cli("alarm", "test").stdout
    assert server.cli("alarm", "test", "nobody", check=False).returncode == 1
    assert not [pid for pid in family(server.process.pid) if "penstock-intruder" in Path(f"/proc/{pid}/cmdline").read_text()]


def test_an_alarm_exec_that_fails_is_told_and_the_test_says_so(start):
    server = start("alarm.timeout = 300ms\n")
    hook = server.dir / "hook"
    hook.write_text("#!/bin/sh\nexit 5\n")
    failed = server.cli("alarm", "test", "life", check=False)
    assert failed.returncode == 1 and "alarm.exec failed 1 times: it exited with code 5" in failed.stdout
    assert "alarm.exec failed 1 times" in server.output()
    hook.write_text("#!/bin/sh\nsleep 60\n")
    slow = server.cli("alarm", "test", "scripts", check=False)
    assert slow.returncode == 1 and "had not ended in 300 ms and was killed" in slow.stdout
    assert status_of(server, FINE_OF["life"]) == 200, "traffic goes on"
    # It is tried again until it succeeds.
    hook.write_text(server.fill(HOOK))
    hook.chmod(hook.stat().st_mode | stat.S_IXOTH)
    assert {alarm["pool"] for _, alarm in told(server, 2)} == {"life", "scripts"}


def test_what_runs_for_long_is_seen(start):
    server = start("alarm.request_age = 300ms\n")
    with Connection(server.port, timeout=20) as slow:
        slow.send("GET /scripts/x.py?sleep HTTP/1.1\r\nHost: h\r\n\r\n")
        wait_until(lambda: {(one["kind"], one["what"]) for one in listed(server)} >= {
            ("age", "request"), ("age", str(Path("/usr/bin/python3").resolve()))}, what="both are alarms")
        running = json.loads(server.cli("alarm", "running", "--older", "200ms", "--json").stdout)
        assert [r["target"] for r in running["requests"]] == ["/scripts/x.py?sleep"]
        assert str(Path("/usr/bin/python3").resolve()) in [p["path"] for p in running["programs"]]
        assert json.loads(server.cli("alarm", "running", "--older", "1h", "--json").stdout)["requests"] == []
    assert server.cli("alarm", "running", "--older", "soon", check=False).returncode == 2


@needs_root
def test_without_root_it_works_as_well(start):
    server = start(policy("life", "refuse"), user="daemon")
    assert body(server, SHELL_OF["life"]) == f"errno {errno.EPERM}"
    words, alarm = told(server)[0]
    assert alarm["what"] == SHELL and words[1] == str(pwd.getpwnam("daemon").pw_uid)


@pytest.mark.alone
def test_the_alarm_comes_within_50_ms(start):
    server = start(policy("life", "refuse") + "alarm.repeat = 1ms\n")
    assert status_of(server, FINE_OF["life"]) == 200
    times = []
    for number in range(1, INTRUSIONS + 1):
        sent = time.time_ns()
        body(server, SHELL_OF["life"])
        words = wait_until(lambda: Path(server.logs / f"alarm.{number}.json").exists() and (server.logs / f"words.{number}").read_text().splitlines(),
                           seconds=10, every=0.005, what="the alarm")
        times.append((int(words[0]) - sent) / 1e6)
    times.sort()
    assert median(times) < 50, times
    if INTRUSIONS >= 100:  # the promise is of 99 in 100, the worst of 11 is chance
        assert times[INTRUSIONS * 99 // 100] < 50, times[-20:]
