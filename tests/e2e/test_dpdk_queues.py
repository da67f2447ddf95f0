"""Issue 4, section 3: one port, several queues, one reactor for each; a connection lives on one, wherever its frames come in."""
import json
import os
import signal
import socket
import subprocess
import threading
import time

import pytest
from dpdk import Tap, Veth, peer_network, ping
from http_client import Connection, wait_until
from instance import ONE_SITE, TREE, is_idle
from test_dpdk_shared import SSH, echo_server, echoed, is_ready
from test_pools_life import Load

pytestmark = pytest.mark.usefixtures("network")
NET_LOAD = TREE / "build/perf/load/net_load"
QUEUES = 3
CONFIG = ONE_SITE + f"dpdk.queues = {QUEUES}\n"


def by_reactor(server, counter):
    return [one[counter] for one in json.loads(server.cli("stats", "--json").stdout)["reactors"]]


@pytest.mark.parametrize("device", [Tap, Veth])
def test_each_reactor_serves_its_connections_every_byte_right(make, device):
    """net_tap sends a connection's frames where its last answer came from, net_af_packet by a hash of the kernel's own."""
    big = os.urandom(300_000)
    server = make(CONFIG, transport="dpdk", device=device(), files={"big.bin": big})
    connections = [Connection((host, 80)) for host in (server.tap.v4, server.tap.v6) for _ in range(30)]
    try:
        for _ in range(2):
            for connection in connections:
                connection.send("GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n")
            for connection in connections:
                assert connection.read_response().body == big
    finally:
        for connection in connections:
            connection.close()
    served = by_reactor(server, "connections_accepted")
    assert len(served) == QUEUES and min(served) >= 5, served
    assert server.counter("handed_over") > 0
    role = next(one for one in server.status()["roles"] if one["role"] == "server")
    assert role["transport"] == "dpdk" and all(step["holds"] for step in role["sandbox"])


@pytest.mark.alone
@pytest.mark.parametrize("device", [Tap, Veth])
def test_whichever_reactor_asks_for_a_neighbour_hears_the_answer(make, device):
    """Each of these clients is a neighbour that nobody has heard of, and its answer comes in on one queue."""
    server = make(CONFIG, transport="dpdk", device=device(), files={"a.txt": "a"})
    for number in range(20, 50):
        source = f"{server.tap.v4[:-1]}{number}"
        subprocess.run(["ip", "addr", "add", f"{source}/24", "dev", server.tap.device], check=True)
        with Connection(server.port, source=source, timeout=0.9) as connection:  # below a repeated SYN's time
            assert connection.request("/a.txt").body == b"a"
        assert ping(server.tap.v4)
    assert min(by_reactor(server, "connections_accepted")) > 0


def test_the_kernel_is_reached_through_every_queue(make):
    server = make(CONFIG + "dpdk.exception = on\n", transport="dpdk", files={"a.txt": "a" * 3000}, start=False)
    server.start(wait=False)
    is_ready(server)
    with echo_server(), peer_network(server.tap):
        for host in (server.tap.v4, server.tap.v6):
            for _ in range(8):
                with Connection((host, 80)) as http, socket.create_connection((host, SSH), 10) as ssh:
                    assert http.request("/a.txt").body == b"a" * 3000
                    assert echoed(ssh, 30_000) and ping(host)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((host, SSH + 1), 10)
        assert min(by_reactor(server, "exception_in")) > 0


def test_up7_a_new_server_on_several_queues_costs_no_request(make):
    server = make(CONFIG, transport="dpdk", device=Veth(), files={"a.txt": "a" * 2000, "large.bin": bytes(3_000_000)})
    before = server.role("server")
    with Load(server, "/a.txt") as load:
        wait_until(lambda: load.done > 20, what="the load is on")
        with Connection(server.port) as connection:
            connection.send("GET /large.bin HTTP/1.1\r\nHost: x\r\n\r\n")
            change = threading.Thread(target=server.cli, args=("sysctl", "-w", "dpdk.spin=2ms"))
            change.start()
            assert len(connection.read_response().body) == 3_000_000
            change.join()
        seen = load.done
        wait_until(lambda: load.done > seen + 20, what="the load goes on")
    assert server.role("server") != before
    assert load.failed == []


def test_a_server_of_several_queues_that_crashes_gets_them_again(make):
    server = make(CONFIG, transport="dpdk", files={"a.txt": "a"})
    before = server.role("server")
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: server.role("server") != before, 10, what="another server")
    server.wait_ready()
    for _ in range(20):
        assert server.fetch("/a.txt").body == b"a"
    assert server.stop() == 0


def test_reactors_are_pinned_to_the_cores_of_the_port_and_these_change_live(make):
    cores = sorted(os.sched_getaffinity(0))
    server = make(ONE_SITE + f"dpdk.queues = {len(cores)}\ndpdk.cores = {' '.join(map(str, cores))}\n", transport="dpdk", files={"a.txt": "a"})

    def pinned():
        tasks = f"/proc/{server.role('server')}/task"
        names = {task: open(f"{tasks}/{task}/comm").read().strip() for task in os.listdir(tasks)}
        return sorted(tuple(os.sched_getaffinity(int(task))) for task, name in names.items() if name == "reactor")
    assert pinned() == [(core,) for core in cores]
    server.cli("sysctl", "-w", "dpdk.cores=")
    server.wait_ready()
    assert pinned() == [tuple(cores)] * len(cores)


def test_a_port_with_fewer_queues_is_refused_in_one_line_with_the_fix(make):
    server = make(listen=False, start=False)
    device = Veth()
    server.base = device.config(f"dpdk.queues = {QUEUES}\n").replace(device.vdev(), device.vdev() + ",qpairs=2")
    server.write_config(ONE_SITE)
    server.start(wait=False)
    assert server.process.wait(20) != 0
    lines = [line for line in server.output().splitlines() if "server: dpdk" in line]
    assert len(lines) == 1 and "dpdk.queues = 3, and the port has 2 (net_af_packet): dpdk.queues = 2" in lines[0], server.output()


@pytest.mark.skipif(not NET_LOAD.exists(), reason="perf/load/net_load is not built")
@pytest.mark.parametrize("ours, its", [("net_memif0,role=server,id=0,socket={RUN}/peer,socket-abstract=no",
                                        "net_memif1,role=client,id=0,socket={RUN}/peer,socket-abstract=no"),
                                       ("net_vhost0,iface={RUN}/peer", "net_virtio_user0,path={RUN}/peer")], ids=["memif", "vhost-user"])
def test_processes_come_and_go_with_as_many_queues(make, ours, its):
    """A process of DPDK's as the peer, which delivers as a card would, or each frame to a wrong queue."""
    server = make(ONE_SITE, listen=False, files={"1k.bin": os.urandom(1024), "100k.bin": os.urandom(100_000)}, start=False)
    server.base = (f"server.listen = 10.78.0.1:80\nserver.transport = dpdk\ndpdk.device = {ours}\ndpdk.queues = 2\n"
                   "dpdk.addresses = 10.78.0.1/24\ndpdk.hugepages = 0\n").replace("{RUN}", str(server.run))
    server.write_config(ONE_SITE)
    server.start(wait=False)

    def load(name, *options):
        done = subprocess.run([NET_LOAD, f"--device={its.replace('{RUN}', str(server.run))}", "--queues=2", "--own=10.78.0.2", "--to=10.78.0.1",
                               f"--path=/{name}", f"--body={server.www}/{name}", "--connections=16", "--seconds=1", "--warmup=0", *options],
                              capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr.decode() + server.output()
        said = json.loads(done.stdout.splitlines()[-1])
        assert said["requests"] > 16 and not any(said["errors"].values()), said

    def handed_over():
        return server.counter("handed_over")
    is_ready(server)
    load("1k.bin")
    load("100k.bin", "--close")
    straight = handed_over()
    assert straight < 200  # neighbours alone
    load("1k.bin", "--astray")
    assert handed_over() > straight + 200
    assert min(by_reactor(server, "connections_accepted")) > 0
    os.kill(server.role("server"), signal.SIGKILL)
    is_ready(server, 2)
    load("1k.bin")


@pytest.mark.alone
def test_idle_queues_cost_next_to_nothing_and_wake_at_once(make):
    """PT3, for the port as a whole: at most 5 % of a core after one second without traffic."""
    server = make(CONFIG, transport="dpdk", files={"a.txt": "a"})
    assert server.fetch("/a.txt").body == b"a"
    time.sleep(1)
    assert is_idle(server.role("server"))
    for _ in range(12):  # of other queues' reactors, which sleep
        with server.connect(timeout=0.9) as connection:
            assert connection.request("/a.txt").body == b"a"
        time.sleep(0.01)
