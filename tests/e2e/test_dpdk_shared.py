"""Issue 4: a port that is shared with the kernel (dpdk.exception). The server and its kernel are in one network, their peer is in another."""
import os
import signal
import socket
import threading
from contextlib import contextmanager

import pytest
from dpdk import peer_network, ping
from http_client import Connection, wait_until
from instance import ONE_SITE

pytestmark = pytest.mark.usefixtures("network")

SSH = 2222
BODY = {"a.txt": "a" * 3000}


@contextmanager
def echo_server():
    """What sshd is to a host: a TCP server of the kernel's, in the network that the caller is in."""
    listener = socket.create_server(("::", SSH), family=socket.AF_INET6, dualstack_ipv6=True)

    def echo(conn):
        with conn:
            while data := conn.recv(1 << 16):
                conn.sendall(data)

    def serve():
        while True:
            try:
                conn, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=echo, args=(conn,), daemon=True).start()
    threading.Thread(target=serve, daemon=True).start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def echoed(conn, size):
    data = os.urandom(size)
    sender = threading.Thread(target=conn.sendall, args=(data,))
    sender.start()
    got = b""
    while len(got) < size and (part := conn.recv(1 << 16)):
        got += part
    sender.join()
    return got == data


def is_ready(server, times=1):
    wait_until(lambda: server.output().count("server is ready") >= times, 10, what="a server")


def test_the_kernel_is_reached_through_the_port_while_it_serves(make):
    server = make(ONE_SITE + "dpdk.exception = on\n", transport="dpdk", files=BODY, start=False)
    server.start(wait=False)
    is_ready(server)
    outward = socket.socket()  # of the server's kernel, as all that is made here
    with echo_server(), outward, peer_network(server.tap):
        for host in (server.tap.v4, server.tap.v6):
            with Connection((host, 80)) as http, socket.create_connection((host, SSH), 10) as ssh:
                for _ in range(3):
                    assert http.request("/a.txt").body == b"a" * 3000
                    assert echoed(ssh, 100_000) and ping(host)
            with pytest.raises(ConnectionRefusedError):  # by the kernel, which nobody has asked to listen
                socket.create_connection((host, SSH + 1), 10)
        with socket.create_server((server.tap.v4[:-1] + "2", SSH)) as listener:
            outward.settimeout(10)
            outward.connect(listener.getsockname())
            conn, (host, _) = listener.accept()
            assert host == server.tap.v4
            conn.close()
        passed = server.counter("exception_in")
        assert passed > 100 and server.counter("exception_out") > 100
        with Connection(server.port) as http:
            for _ in range(100):
                assert http.request("/a.txt").status == 200
        assert server.counter("exception_in") < passed + 50  # neighbours and groups, and no request
    role = next(one for one in server.status()["roles"] if one["role"] == "server")
    assert all(step["holds"] for step in role["sandbox"])


def test_connections_of_the_kernels_outlive_a_server(make):
    """The supervisor holds the kernel's end. (Of net_tap the other end goes with its server: that is this port's, not a card's.)"""
    server = make(ONE_SITE + "dpdk.exception = on\n", transport="dpdk", files=BODY, start=False)
    server.start(wait=False)
    is_ready(server)
    with echo_server(), peer_network(server.tap) as plug:
        with socket.create_connection((server.tap.v4, SSH), 10) as ssh:
            assert echoed(ssh, 1000)
            os.kill(server.role("server"), signal.SIGKILL)
            is_ready(server, 2)
            plug()
            assert echoed(ssh, 1000)


def test_off_is_the_default_and_it_is_switched_live(make):
    server = make(ONE_SITE, transport="dpdk", files=BODY, start=False)
    server.start(wait=False)
    is_ready(server)
    with echo_server(), peer_network(server.tap) as plug:
        assert server.fetch("/a.txt").status == 200
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((server.tap.v4, SSH), 10)
        assert server.counter("exception_in") == 0
        server.sysctl(dpdk__exception="on", dpdk__exception_device="shared7")
        plug()
        with socket.create_connection((server.tap.v4, SSH), 10) as ssh:
            assert echoed(ssh, 1000)
        assert server.fetch("/a.txt").status == 200 and server.counter("exception_in") > 0


def test_an_interface_of_another_kind_is_refused(make):
    server = make(ONE_SITE, transport="dpdk", files=BODY)
    refused = server.cli("sysctl", "-w", "dpdk.exception=on", "dpdk.exception_device=lo", check=False)
    assert refused.returncode == 2 and "dpdk.exception_device = lo" in refused.stderr, refused.stderr
    wait_until(lambda: server.status()["state"] == "serving", 10, what="a server with the port as it was")
    server.wait_ready()
    assert server.fetch("/a.txt").status == 200
