"""Issue 5 §1: https as real clients see it, the private key in the key process alone."""
import os
import signal
import socket
import ssl
import subprocess

import pytest
from http_client import wait_until
from instance import ONE_SITE, free_port, make_pair


@pytest.fixture
def https(make, tmp_path):
    cert, key = make_pair(tmp_path, "localhost")
    port = free_port()
    config = (ONE_SITE + f"server.listen_tls = 127.0.0.1:{port}\nsite.main.tls.certificate = {cert}\n"
              f"site.main.tls.key = {key}\n")
    server = make(config, files={"a.txt": "a", "big.bin": "x" * 3_000_000})
    server.https, server.cert, server.key, server.tls_config = port, cert, key, config
    return server


def curl(server, path, *more):
    return subprocess.run(["curl", "-sS", "--max-time", "20", "--cacert", server.cert, f"https://localhost:{server.https}{path}", *more],
                          capture_output=True)


def s_client(server, *more):
    return subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{server.https}", *more], input=b"", timeout=20,
                          capture_output=True).stdout.decode()


def test_curl_gets_the_same_bytes_over_tls_1_2_and_1_3(https):
    for version in (["--tls-max", "1.2"], ["--tlsv1.3"]):
        assert curl(https, "/a.txt", *version).stdout == b"a"
        assert curl(https, "/big.bin", *version).stdout == b"x" * 3_000_000


def test_sessions_are_resumed_across_the_death_of_the_server(https, tmp_path):
    for version in ("-tls1_2", "-tls1_3"):
        saved = tmp_path / f"session{version}"
        request = b"GET /a.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        subprocess.run(["openssl", "s_client", "-quiet", "-connect", f"127.0.0.1:{https.https}", version, "-sess_out", saved],
                       input=request, timeout=20, capture_output=True)
        front = https.role("server")
        os.kill(front, signal.SIGKILL)
        wait_until(lambda: https.role("server") not in (None, front), 20)
        assert "Reused" in s_client(https, version, "-sess_in", str(saved))


def test_the_key_is_in_no_memory_of_the_server(https):
    assert curl(https, "/a.txt").stdout == b"a"
    text = subprocess.run(["openssl", "ec", "-in", https.key, "-noout", "-text"], check=True, capture_output=True).stdout.decode()
    secret = bytes.fromhex(text.split("priv:")[1].split("pub:")[0].replace(":", "").replace("\n", "").replace(" ", ""))[-32:]
    pid = https.role("server")
    found = 0
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            start, end = (int(part, 16) for part in line.split()[0].split("-"))
            if "r" not in line.split()[1] or "[v" in line:
                continue
            try:
                memory.seek(start)
                content = memory.read(end - start)
            except (OSError, ValueError, OverflowError):
                continue
            found += (secret in content) + (secret[::-1] in content)
    assert found == 0


def test_a_key_of_another_certificate_changes_nothing_and_is_named(https, tmp_path):
    _, other = make_pair(tmp_path, "other")
    refused = https.cli("sysctl", "-w", f"site.main.tls.key={other}", check=False)
    assert refused.returncode != 0 and other in refused.stderr + refused.stdout
    assert curl(https, "/a.txt").stdout == b"a"


def test_plain_http_on_the_tls_port_is_told_so(https):
    answer = subprocess.run(["curl", "-sS", f"http://127.0.0.1:{https.https}/"], capture_output=True)
    assert b"This address speaks https" in answer.stdout


def test_a_replaced_pair_is_served_without_a_connection_lost(https, tmp_path):
    serial = lambda: subprocess.run(["openssl", "x509", "-noout", "-serial"], input=s_client(https).encode(), capture_output=True).stdout
    front, first = https.role("server"), serial()
    context = ssl.create_default_context(cafile=https.cert)
    with context.wrap_socket(socket.create_connection(("127.0.0.1", https.https)), server_hostname="localhost") as kept:
        request = b"GET /a.txt HTTP/1.1\r\nHost: localhost\r\n\r\n"
        kept.sendall(request)
        assert kept.recv(65536).endswith(b"a")
        make_pair(tmp_path, "localhost")
        wait_until(lambda: serial() not in (b"", first), 20)
        kept.sendall(request)
        assert kept.recv(65536).endswith(b"a")
    assert https.role("server") == front
