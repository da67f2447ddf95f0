"""Issue 4: past the kernel, over a port of DPDK's own. The peers are curl, wget and Linux's TCP at the other end of net_tap.

`site` of the other files runs on it as well; here is what is its own.
"""
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

import pytest
from conftest import needs
from demo import FEATURES
from dpdk import Tap, Veth
from http_client import Connection, wait_until
from instance import ONE_SITE, QUICK, TREE, Instance, is_idle, make_pair
from test_clients import FILES, is_shown
from test_pools_life import Load, show
from test_pools_life import config as pool_config

pytestmark = pytest.mark.usefixtures("network")


def run(*words, seconds=60):
    return subprocess.run(list(map(str, words)), capture_output=True, timeout=seconds)


@needs("curl")
@needs("wget")
def test_curl_and_wget_over_both_versions(make, tmp_path):
    big = os.urandom(3_000_000)
    server = make(transport="dpdk", files={"a.txt": "hello\n", "big.bin": big})
    for host in (server.tap.v4, f"[{server.tap.v6}]"):
        assert run("curl", "-sgf", f"http://{host}/a.txt").stdout == b"hello\n"
        assert run("curl", "-sgf", f"http://{host}/big.bin").stdout == big
        target = tmp_path / "got"
        assert run("wget", "-q", "-O", target, f"http://{host}/big.bin").returncode == 0
        assert target.read_bytes() == big


@needs("wrk")
@needs("chromium")
def test_wrk_and_a_browser(make):
    server = make(transport="dpdk", files=FILES)
    done = run("wrk", "-t1", "-c64", "--timeout", "10s", "-d1s", f"http://{server.tap.v4}:80/text.txt")
    loaded = done.stdout.decode()
    served = re.search(r"(\d+) requests in", loaded)
    assert served and int(served[1]) > 0 and "Socket errors" not in loaded and "Non-2xx" not in loaded, (done, server.output())
    is_shown(f"http://[{server.tap.v6}]/")


@needs("curl")
def test_a_second_driver_serves_the_same_bytes_over_a_packet_socket(make):
    """net_af_packet on a veth: no device of its own, no interrupts, and a MAC address that the kernel has as well."""
    big = os.urandom(3_000_000)
    server = make(transport="dpdk", device=Veth(), files={"a.txt": "hello\n", "big.bin": big})
    for host in (server.tap.v4, f"[{server.tap.v6}]"):
        assert run("curl", "-sgf", f"http://{host}/a.txt").stdout == b"hello\n"
        assert run("curl", "-sgf", f"http://{host}/big.bin").stdout == big
    role = next(one for one in server.status()["roles"] if one["role"] == "server")
    assert role["transport"] == "dpdk" and all(step["holds"] for step in role["sandbox"])


@needs("curl")
def test_https_and_both_ways_of_http2_give_the_bytes_that_plain_http_gives(make, tmp_path):
    certificate, key = make_pair(tmp_path, "localhost")
    bodies, device = {"a.txt": b"hello\n", "big.bin": os.urandom(1_000_000)}, Tap()
    http2 = FEATURES["http/2"]["available"]
    server = make(ONE_SITE + f"server.listen_tls = {device.v4}:443 [{device.v6}]:443\nsite.main.tls.certificate = {certificate}\n"
                  f"site.main.tls.key = {key}\nhttp2.cleartext = {int(http2)}\n", transport="dpdk", device=device, files=bodies)
    ways = [("https", "--http1.1", "1.1")] + [("https", "--http2", "2"), ("http", "--http2-prior-knowledge", "2")] * http2
    for host in (server.tap.v4, f"[{server.tap.v6}]"):
        for scheme, option, version in ways:
            for name, body in bodies.items():
                got = run("curl", "-sSgf", option, "--cacert", certificate, "--connect-to", f"localhost::{host}:", "-w", "%{stderr}%{http_version}",
                          f"{scheme}://localhost/{name}")
                assert (got.returncode, got.stdout == body, got.stderr) == (0, True, version.encode()), (host, scheme, option, name)


def test_it_serves_from_its_sandbox(make):
    server = make(transport="dpdk", files={"a.txt": "a"})
    role = next(one for one in server.status()["roles"] if one["role"] == "server")
    assert role["transport"] == "dpdk"
    held = {step["name"]: step["holds"] for step in role["sandbox"]}
    assert all(held.values()) and "threads" in held and "seccomp" in held, held
    # The thread that DPDK has made is no way out: it has the same user, filter and no capability.
    for thread in os.listdir(f"/proc/{role['pid']}/task"):
        with open(f"/proc/{role['pid']}/task/{thread}/status") as file:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
        assert status["Uid"].split()[0] != "0" and status["Seccomp"] == "2" and status["NoNewPrivs"] == "1"
        assert int(status["CapBnd"], 16) == int(status["CapPrm"], 16) == 0


def urls_below(root, count_max):
    """Paths of files and folders below a folder, in a fixed order."""
    found = []
    for folder, folders, files in os.walk(root):
        folders.sort()
        base = folder[len(str(root)):]
        found += [f"{base}/"] + [f"{base}/{name}" for name in sorted(files)]
        if len(found) >= count_max:
            break
    return [url for url in found[:count_max] if re.fullmatch(r"[\w./+~-]+", url)]


def walk(server, urls):
    answers = {}
    with Connection(server.port) as connection:
        for number, url in enumerate(urls):
            for fields in ((), ("Accept-Encoding: gzip",), ("Range: bytes=1-100",))[:3 if number % 5 == 0 else 1]:
                response = connection.request(url, fields=fields, host="x")
                kept = [field for field in response.fields if field[0] not in ("Date",)]
                answers[url, fields] = (response.status, kept, response.body)
    return answers


def test_equal_bytes_over_every_transport():
    urls = urls_below("/usr/share/doc", 100 if QUICK else 2000)
    config = "site.main.hosts = *\nsite.main.root = /usr/share/doc\nsite.main.listing = 1\n"
    answers = {}
    for transport in ("uring", "epoll", "dpdk"):
        with Instance(config, transport=transport) as server:
            server.start()
            answers[transport] = walk(server, urls)
    assert len(answers["uring"]) >= len(urls) >= (100 if QUICK else 1900) and {status for status, _, _ in answers["uring"].values()} >= {200, 206}
    assert answers["dpdk"] == answers["uring"] == answers["epoll"]


def test_sc13_a_hit_copies_and_sums_no_byte_of_its_body(make):
    """Neither small bodies nor large ones: their sums are made once, when the cache takes them; a head is each answer's own."""
    bodies = {"1k.bin": os.urandom(1024), "100k.bin": os.urandom(100_001)}
    server = make(transport="dpdk", files=bodies)
    with Connection(server.port) as connection:
        for name, body in bodies.items():
            def is_hit():
                hits = server.counter("cache_hits")
                connection.request(f"/{name}")
                return server.counter("cache_hits") > hits
            wait_until(is_hit, 20, what="an entry")
            names, answers = ("bytes_copied", "bytes_summed", "cache_hits", "allocations"), 50
            before = [server.counter(one) for one in names]
            for _ in range(answers):
                assert connection.request(f"/{name}").body == body
            copied, summed, hits, allocations = ((server.counter(one) - was) / answers for one, was in zip(names, before))
            for last in (100, 1023, 2000):  # a range may end within what a sum was made of
                part = connection.request(f"/{name}", fields=[f"Range: bytes=0-{last}"])
                assert part.status == 206 and part.body == body[:last + 1]
            assert hits == 1 and 0 < copied < 400 and 0 < summed < 400 and allocations < 0.1, (copied, summed, hits, allocations)


def test_settings_change_under_traffic_and_no_request_fails(make):
    server = make(transport="dpdk", files={"a.txt": "a" * 2000})
    with Connection(server.port) as connection:
        for number in range(30):
            server.sysctl(limits__idle_timeout=f"{60 + number}s")
            for _ in range(10):
                assert connection.request("/a.txt").body == b"a" * 2000
    assert server.generation() == 31


def test_up7_workers_are_replaced_under_traffic_and_no_request_fails(make):
    server = make(pool_config(), transport="dpdk")
    with Load(server) as load:
        for number in range(1, 4):
            wait_until(lambda: load.done > 20 * number, what="the load is on")
            server.sysctl(pool__life__idle_timeout=f"{60 + number}s")
            server.cli("pool", "recycle", "life")
            wait_until(lambda: show(server)["pool"]["recycled"] >= number, what=f"recycled {number} times")
    assert load.failed == [] and show(server)["pool"]["failures"] == 0


def test_up7_a_new_server_on_the_port_costs_new_connections_time_and_no_request(make):
    """Two servers cannot have the port with another MTU each. What is open is finished; who comes between the two has its SYN sent again."""
    server = make(transport="dpdk", device=Veth(), files={"a.txt": "a" * 2000})
    before = server.role("server")
    with Load(server, "/a.txt") as load:
        wait_until(lambda: load.done > 20, what="the load is on")
        server.cli("sysctl", "-w", "dpdk.mtu=1400")
        seen = load.done
        wait_until(lambda: load.done > seen + 20, what="the load goes on")
    assert server.role("server") != before
    assert load.failed == []


ADDR_NO_RANDOMIZE = 0x0040000


def place_of(pid):
    """Where the program lies, of a process that nobody has told to lie at the same place each time."""
    with open(f"/proc/{pid}/personality") as file:
        assert not int(file.read(), 16) & ADDR_NO_RANDOMIZE
    with open(f"/proc/{pid}/maps") as file:
        return next(line.split("-")[0] for line in file if line.split()[-1] == os.readlink(f"/proc/{pid}/exe"))


def test_pt3_a_server_that_crashes_gets_its_port_again_at_other_addresses(make):
    server = make(transport="dpdk", files={"a.txt": "a"})
    before = server.role("server")
    place = place_of(before)
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: server.role("server") != before, 10, what="another server")
    server.wait_ready()
    assert server.fetch("/a.txt").body == b"a"
    assert place_of(server.role("server")) != place


def test_who_has_nothing_to_ask_is_told_when_the_server_stops(make):
    """More at once than the port's queue takes; net_tap's interface goes with the server, so what is sent late is never seen."""
    server = make(transport="dpdk", files={"a.txt": "a"})
    connections = [server.connect() for _ in range(1000)]
    try:
        assert server.stop() == 0
        assert all(connection.sock.recv(1) == b"" for connection in connections)
    finally:
        for connection in connections:
            connection.close()


def test_the_kernels_own_interfaces_refuse(make):
    """A wildcard is the port's: on the kernel's interfaces nobody waits in a backlog that nobody empties."""
    tap = Tap()
    config = tap.config().replace(f"{tap.v4}:80 [{tap.v6}]:80", "0.0.0.0:8099 [::]:8099")
    server = make(config + ONE_SITE, listen=False, files={"a.txt": "a"}, start=False)
    server.start(wait=False)
    assert tap.bring_up()

    def is_served():
        try:  # who comes before the server is told so by a reset
            with Connection((tap.v4, 8099)) as connection:
                return connection.request("/a.txt").body == b"a"
        except OSError:
            return False
    wait_until(is_served, 10, what="served over the port")
    with Connection((tap.v6, 8099)) as connection:
        assert connection.request("/a.txt").body == b"a"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", 8099), 5)


def test_the_keys_of_the_port_change_live(make):
    """Its server is replaced by another: what is open is finished before."""
    server = make(transport="dpdk", files={"a.txt": "a", "large.bin": bytes(3_000_000)})
    before = server.role("server")
    with Connection(server.port) as connection:
        connection.send("GET /large.bin HTTP/1.1\r\nHost: x\r\n\r\n")
        change = threading.Thread(target=server.cli, args=("sysctl", "-w", "dpdk.mtu=1400", "dpdk.spin=2ms"))
        change.start()
        assert len(connection.read_response().body) == 3_000_000
        change.join()
    assert server.role("server") != before and server.generation() == 2
    server.wait_ready()
    assert server.fetch("/a.txt").body == b"a"
    assert server.cli("sysctl", "dpdk.mtu").stdout == "dpdk.mtu = 1400\n"


def test_a_port_that_cannot_be_opened_is_refused_and_the_one_before_comes_back(make):
    server = make(transport="dpdk", files={"a.txt": "a"})
    refused = server.cli("sysctl", "-w", "dpdk.device=net_nothing0", check=False)
    assert refused.returncode == 2 and "configuration" in refused.stderr, refused.stderr
    wait_until(lambda: server.status()["state"] == "serving", 10, what="a server with the port as it was")
    server.wait_ready()
    assert server.fetch("/a.txt").body == b"a" and server.generation() == 1


NET_LOAD = TREE / "build/perf/load/net_load"
MEMIF = """server.listen = 10.78.0.1:80
server.transport = dpdk
dpdk.device = net_memif0,role=server,id=0,socket={RUN}/memif,socket-abstract=no
dpdk.addresses = 10.78.0.1/24
dpdk.hugepages = 0
"""


@pytest.mark.skipif(not NET_LOAD.exists(), reason="perf/load/net_load is not built")
def test_processes_come_and_go_by_memif_and_get_every_byte_right(make, tmp_path):
    """The peer is a process of DPDK's as well, with our own engine's clients; the server takes it from within its sandbox."""
    server = make(ONE_SITE, listen=False, files={"1k.bin": os.urandom(1024)}, start=False)
    server.base = MEMIF.replace("{RUN}", str(server.run))
    server.write_config(ONE_SITE)
    server.start(wait=False)

    def load(*options):
        done = run(NET_LOAD, f"--device=net_memif1,role=client,id=0,socket={server.run}/memif,socket-abstract=no", "--own=10.78.0.2", "--to=10.78.0.1",
                   "--path=/1k.bin", f"--body={server.www}/1k.bin", "--connections=8", "--seconds=1", "--warmup=0", *options)
        assert done.returncode == 0, done.stderr.decode() + server.output()
        return json.loads(done.stdout.splitlines()[-1])
    for options in ((), ("--close",), ("--rate=500",)):
        wait_until(lambda: "server is ready" in server.output(), 10, what="the server")
        said = load(*options)
        assert said["requests"] > 8 and not any(said["errors"].values()), said
    # A server that is killed leaves its socket; the next one is there all the same.
    os.kill(server.role("server"), signal.SIGKILL)
    wait_until(lambda: server.output().count("server is ready") == 2, 10, what="another server")
    assert load()["requests"] > 8


@pytest.mark.parametrize("change, words", [
    ("dpdk.device = net_tip0", "no such driver"),
    ("dpdk.device = /dev/eth0", "expected a virtual device"),
    ("dpdk.device = ffff:ff:1f.7", "no such port"),
    ("dpdk.device = net_af_packet0,iface=nope", "No such device): is its interface there"),
    ("dpdk.device = net_tap0,iface=longer-than-names-may-be", "invalid remote interface name"),
    ("dpdk.device = net_memif0,id=0,role=server,socket=/nonexistent/x,socket-abstract=no", "Invalid socket directory"),
    ("dpdk.device = net_vhost0,iface=/nonexistent/x", "is its folder there?"),
    ("dpdk.hugepages = 1", "dpdk.hugepages = 0"),
])
def test_what_is_wrong_is_told_in_one_line_with_the_fix(make, change, words):
    with open("/proc/meminfo") as meminfo:
        if "hugepages" in change and "HugePages_Free:        0" not in meminfo.read():
            pytest.skip("this machine has free hugepages")
    tap = Tap()
    key = change.split(" =")[0]
    config = re.sub(rf"(?m)^{re.escape(key)} = .*$", change, tap.config())
    server = make(config + ONE_SITE, listen=False, start=False)
    server.start(wait=False)
    assert server.process.wait(20) != 0
    lines = [line for line in server.output().splitlines() if "server: dpdk" in line]
    assert len(lines) == 1 and words in lines[0], server.output()


HUGE_PAGES = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"


@pytest.fixture
def huge_pages():
    """As many as one server needs, beside what there are."""
    if not os.path.exists(HUGE_PAGES):
        pytest.skip("this machine has no huge pages of 2 MiB")
    with open(HUGE_PAGES) as file:
        before = int(file.read())

    def want(count):
        with open(HUGE_PAGES, "w") as file:
            file.write(str(count))
        with open(HUGE_PAGES) as file:
            return int(file.read()) == count
    try:
        if not want(before + 256):
            pytest.skip("there is no memory for huge pages")
        yield
    finally:
        want(before)


def test_huge_pages_are_taken_where_they_are_wanted(make, huge_pages):
    server = make(transport="dpdk", files={"a.txt": "hello"}, start=False)
    server.base = server.base.replace("dpdk.hugepages = 0", "dpdk.hugepages = 1")
    server.write_config(ONE_SITE)
    server.start()
    assert server.fetch("/a.txt").body == b"hello"
    with open(f"/proc/{server.role('server')}/smaps") as file:
        assert re.search(r"^KernelPageSize: +2048 kB$", file.read(), re.M)


def test_five_thousand_connections_at_once(make):
    count = 500 if QUICK else 5000
    server = make(ONE_SITE, transport="dpdk", files={"a.txt": "a" * 1000})
    connections = [Connection(server.port) for _ in range(count)]
    try:
        for connection in connections:
            connection.send("GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n")
        for connection in connections:
            assert connection.read_response().body == b"a" * 1000
    finally:
        for connection in connections:
            connection.close()


@pytest.mark.alone
def test_an_idle_port_costs_next_to_nothing_and_wakes_at_once(make):
    """PT3: at most 5 % of a core after one second without traffic."""
    server = make(transport="dpdk", files={"a.txt": "a"})
    assert server.fetch("/a.txt").body == b"a"
    time.sleep(1)
    assert is_idle(server.role("server"))
    assert server.fetch("/a.txt").body == b"a"


GIT = """site.main.route.git.prefix = /git
site.main.route.git.handler = pool
site.main.route.git.pool = git
site.main.route.git.methods = GET HEAD POST
pool.git.runtime = cgi
pool.git.app = /usr/lib/git-core/git-http-backend
pool.git.environment.GIT_PROJECT_ROOT = {DIR}/repositories
pool.git.environment.GIT_HTTP_EXPORT_ALL = 1
pool.git.environment.GIT_CONFIG_NOSYSTEM = 1
pool.git.environment.GIT_CONFIG_COUNT = 1
pool.git.environment.GIT_CONFIG_KEY_0 = safe.directory
pool.git.environment.GIT_CONFIG_VALUE_0 = *
pool.git.identity = git
identity.git.read = {DIR}/repositories /usr/share/git-core
identity.git.execute = /usr/bin/git /usr/lib/git-core /bin/sh
identity.git.syscalls = process
"""


@pytest.mark.skipif(not os.path.exists("/usr/lib/git-core/git-http-backend"), reason="git is not installed")
def test_git_clones_through_a_pool(make, tmp_path):
    server = make(ONE_SITE + GIT, transport="dpdk", start=False)
    work, bare = tmp_path / "work", server.dir / "repositories/demo.git"
    content = os.urandom(500_000)
    author = ["-c", "user.name=ada", "-c", "user.email=ada@example.org"]
    assert run("git", "init", "-q", work).returncode == 0
    (work / "big.bin").write_bytes(content)
    assert run("git", "-C", work, "add", "-A").returncode == 0
    assert run("git", "-C", work, *author, "commit", "-qm", "first").returncode == 0
    assert run("git", "clone", "-q", "--bare", work, bare).returncode == 0
    run("chmod", "-R", "a+rX", server.dir / "repositories")
    server.start()
    cloned = run("git", "clone", "-q", f"http://{server.tap.v4}/git/demo.git", tmp_path / "clone")
    assert cloned.returncode == 0, cloned.stderr.decode() + server.output()
    assert (tmp_path / "clone/big.bin").read_bytes() == content
