"""Issue 5 §1, TL2: the key process in the life of an instance."""
import os
import signal
import socket
import ssl
import subprocess
from pathlib import Path

from conftest import needs_root
from http_client import fetch, wait_until
from instance import ONE_SITE, eventfds, free_port, make_pair, memory_of

KEYS = ONE_SITE + "site.main.tls.key = {DIR}/key.pem\n"


def roles(server):
    return {role["role"]: role for role in server.status()["roles"] if role["state"] == "ready"}


def keyd(server):
    return roles(server).get("keyd", {}).get("pid")


def test_no_key_file_no_key_process(make):
    server = make()
    assert keyd(server) is None


def test_it_comes_with_the_first_key_file_and_goes_with_the_last(make):
    server = make()
    front = server.role("server")
    server.write_config(KEYS)
    wait_until(lambda: keyd(server), 10)
    server.write_config(ONE_SITE)
    wait_until(lambda: keyd(server) is None, 10)
    server.write_config(KEYS)
    wait_until(lambda: keyd(server), 10)
    assert server.role("server") == front, "a running server was replaced for it"
    assert server.status()["keyd"]["restarts"] == 0


def test_killed_it_is_replaced_and_the_server_goes_on(make):
    server = make(KEYS, files={"a.txt": "a"})
    front = server.role("server")
    first = wait_until(lambda: keyd(server), 10)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: keyd(server) not in (None, first), 10)
    assert server.role("server") == front
    assert fetch(server.port, "/a.txt").body == b"a"
    assert "was killed by SIGKILL" in server.status()["keyd"]["last_end"]


@needs_root
def test_it_rings_servers_with_what_they_do_not_have(make, tmp_path):
    """An eventfd of two processes is one description: a server that was broken into could make keyd's write wait for ever."""
    certificate, key = make_pair(tmp_path, "localhost")
    server = make(ONE_SITE + f"server.listen_tls = 127.0.0.1:{free_port()}\nsite.main.tls.certificate = {certificate}\nsite.main.tls.key = {key}\n"
                  "server.reactors = 2\n")
    first = keyd(server)
    assert len(eventfds(first)) == 4, "its own, a bell for each reactor and one for the control thread"
    os.kill(first, signal.SIGKILL)
    second = wait_until(lambda: keyd(server) not in (None, first) and keyd(server), 10)
    wait_until(lambda: len(eventfds(second)) == 4, 10, what="the bells are there")
    assert eventfds(server.role("server")) & eventfds(second) == set()


def test_a_killed_server_leaves_it_alone(make):
    server = make(KEYS, files={"a.txt": "a"})
    first = wait_until(lambda: keyd(server), 10)
    front = server.role("server")
    os.kill(front, signal.SIGKILL)
    wait_until(lambda: roles(server).get("server", {}).get("pid") not in (None, front), 10)
    assert fetch(server.port, "/a.txt").body == b"a"
    assert keyd(server) == first


def test_https_goes_on_when_the_key_process_is_killed_and_the_server_never_has_the_key(make, tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost",
                    "-days", "2", "-keyout", key, "-out", certificate], check=True, capture_output=True)
    key.chmod(0o600)
    port = free_port()
    server = make(ONE_SITE + f"server.listen_tls = 127.0.0.1:{port}\nsite.main.tls.certificate = {certificate}\nsite.main.tls.key = {key}\n",
                  files={"a.txt": "a"})
    context = ssl.create_default_context(cafile=certificate)
    context.check_hostname = False

    def handshake():
        with socket.create_connection(("127.0.0.1", port), 20) as plain, context.wrap_socket(plain, server_hostname="localhost") as secure:
            secure.sendall(b"GET /a.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return b"".join(iter(lambda: secure.recv(4096), b"")).endswith(b"\r\n\r\na")

    for _ in range(20):
        assert handshake()
    if os.geteuid() == 0:
        text = subprocess.run(["openssl", "ec", "-in", key, "-text", "-noout"], check=True, capture_output=True, text=True).stdout
        digits = text.split("priv:")[1].split("pub:")[0].replace(":", "").split()
        number = int("".join(digits), 16).to_bytes(32, "big")
        for needle in (number, number[::-1]):
            assert not in_memory(server.role("server"), needle)
        assert in_memory(keyd(server), number[::-1]), "the scan would find nothing anywhere"
    for _ in range(5):
        os.kill(wait_until(lambda: keyd(server), 20), signal.SIGKILL)
        for _ in range(5):
            assert handshake()


def test_a_key_file_that_was_written_over_is_not_missed_by_the_next_key_process(make, tmp_path):
    certificate, key = make_pair(tmp_path, "localhost")
    other = Path(make_pair(tmp_path, "other")[1]).read_text()
    port = free_port()
    server = make(ONE_SITE + f"server.listen_tls = 127.0.0.1:{port}\nsite.main.tls.certificate = {certificate}\nsite.main.tls.key = {key}\n")
    context = ssl.create_default_context(cafile=certificate)

    def handshake():
        with socket.create_connection(("127.0.0.1", port), 20) as plain, context.wrap_socket(plain, server_hostname="localhost"):
            return True
    assert handshake()
    for text in ("", "no key", other):
        with open(key, "r+") as file:  # the same file, other bytes
            file.write(text)
            file.truncate()
        os.kill(wait_until(lambda: keyd(server), 20), signal.SIGKILL)
        assert handshake()
    front = server.role("server")
    os.kill(front, signal.SIGKILL)
    wait_until(lambda: roles(server).get("server", {}).get("pid") not in (None, front), 20)
    assert handshake()


def in_memory(pid, needle):
    return any(needle in stretch for stretch in memory_of(pid))
