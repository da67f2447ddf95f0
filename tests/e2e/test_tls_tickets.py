"""Issue 5 §1: session tickets: one set of keys for all reactors, rotated, kept by the supervisor across a server's death."""
import os
import re
import signal
import socket
import ssl
import subprocess

import pytest
from http_client import wait_until
from instance import ONE_SITE, free_port, make_pair

REQUEST = b"GET /a.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
VERSIONS = ("-tls1_2", "-tls1_3")


@pytest.fixture
def https(make, tmp_path):
    def build(more=""):
        certificate, key = make_pair(tmp_path, "localhost")
        port = free_port()
        server = make(ONE_SITE + f"server.listen_tls = 127.0.0.1:{port}\nsite.main.tls.certificate = {certificate}\n"
                      f"site.main.tls.key = {key}\n" + more, files={"a.txt": "a"})
        server.https, server.certificate = port, certificate
        return server
    return build


def s_client(server, *more):
    """What openssl says of one exchange; with its session where it has one."""
    return subprocess.run(["openssl", "s_client", "-ign_eof", "-connect", f"127.0.0.1:{server.https}", *more], input=REQUEST, timeout=30,
                          capture_output=True).stdout.decode(errors="replace")


def reused(said):
    assert "\nReused, " in said or "\nNew, " in said, said
    return "\nReused, " in said


def key_name(said):
    """Of the key that sealed the ticket: its first sixteen bytes; None: there was no ticket."""
    found = re.search(r"TLS session ticket:\s+0000 - ([0-9a-f -]{47})", said)
    return found and found[1]


def save(server, version, path):
    said = s_client(server, version, "-sess_out", str(path))
    assert not reused(said)
    return key_name(said)


def test_a_rotated_key_opens_its_tickets_until_their_lifetime_is_over(https, tmp_path):
    server = https("tls.tickets.rotate = 5s\ntls.tickets.lifetime = 35s\n")
    names = {version: save(server, version, tmp_path / version) for version in VERSIONS}
    assert all(names.values())
    wait_until(lambda: key_name(s_client(server, "-tls1_3")) not in (None, *names.values()), 30, what="another key")
    for version in VERSIONS:
        assert reused(s_client(server, version, "-sess_in", str(tmp_path / version)))
    server.sysctl(tls__tickets__lifetime="1s")
    for version in VERSIONS:
        wait_until(lambda: not reused(s_client(server, version, "-sess_in", str(tmp_path / version))), 30, what="the ticket has expired")


def test_a_ticket_expires_though_its_key_is_in_use(https, tmp_path):
    server = https("tls.tickets.lifetime = 1s\n")
    for version in VERSIONS:
        name = save(server, version, tmp_path / version)
        wait_until(lambda: not reused(s_client(server, version, "-sess_in", str(tmp_path / version))), 30, what="the ticket has expired")
        assert key_name(s_client(server, version)) == name


def test_without_tickets_nobody_gets_one_and_none_is_taken(https, tmp_path):
    server = https()
    for version in VERSIONS:
        assert save(server, version, tmp_path / version)
    server.sysctl(tls__tickets__enable=0)
    for version in VERSIONS:
        said = wait_until(lambda: (lambda said: None if reused(said) else said)(s_client(server, version, "-sess_in", str(tmp_path / version))), 10)
        assert key_name(said) is None and "HTTP/1.1 200" in said
    server.sysctl(tls__tickets__enable=1)
    wait_until(lambda: key_name(s_client(server, "-tls1_3")), 10)
    refused = server.cli("sysctl", "-w", "tls.tickets.rotate=1s", check=False)
    assert refused.returncode == 2 and "seven times" in refused.stderr + refused.stdout


def test_sessions_are_resumed_on_every_reactor_and_across_kill_9(https):
    server = https("server.reactors = 2\n")
    context = ssl.create_default_context(cafile=server.certificate)

    def connect(session):
        with socket.create_connection(("127.0.0.1", server.https), 20) as plain:
            with context.wrap_socket(plain, server_hostname="localhost", session=session) as secure:
                secure.sendall(REQUEST)
                while secure.recv(4096):
                    pass
                return secure.session_reused, secure.session

    _, session = connect(None)
    resumed = 0
    for number in range(100):
        if number % 25 == 10:  # nothing is open then; who comes meanwhile waits in the listener
            front = server.role("server")
            os.kill(front, signal.SIGKILL)
            wait_until(lambda: server.role("server") not in (None, front), 20)
        again, session = connect(session)
        resumed += again
    assert resumed >= 95
