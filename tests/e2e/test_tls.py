"""Issue 5 §1: https as real clients see it, the private key in the key process alone."""
import os
import signal
import socket
import ssl
import subprocess

import pytest
from http_client import wait_until
from instance import ONE_SITE, free_port, make_pair, memory_of


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
    found = sum((secret in content) + (secret[::-1] in content) for content in memory_of(pid))
    assert found == 0


def test_a_key_of_another_certificate_changes_nothing_and_is_named(https, tmp_path):
    _, other = make_pair(tmp_path, "other")
    refused = https.cli("sysctl", "-w", f"site.main.tls.key={other}", check=False)
    assert refused.returncode != 0 and other in refused.stderr + refused.stdout
    assert curl(https, "/a.txt").stdout == b"a"


def test_the_kernels_tls_is_looked_for_and_told_of_once(https):
    told = lambda: [line.partition("kTLS: ")[2] for line in https.words.read_text().splitlines() if "kTLS: " in line]
    front, once = https.role("server"), wait_until(told, what="the line")
    os.kill(front, signal.SIGKILL)
    wait_until(lambda: https.role("server") not in (None, front), 20)
    assert curl(https, "/a.txt").stdout == b"a"
    assert told() == once and len(once) == 1 and once[0], "with its reason, and not by every server anew"
    if once[0].startswith("used: "):
        assert https.counter("tls_kernel") > 0
    else:  # the kernel is not asked for each connection anew
        assert once[0].startswith("not used: ") and https.counter("tls_kernel") == https.counter("tls_kernel_refused") == 0


def test_the_kernels_tls_can_be_switched_off(https):
    https.sysctl(tls__kernel="off")
    before = https.counter("tls_kernel")
    assert curl(https, "/a.txt").stdout == b"a"
    assert https.counter("tls_kernel") == before
    told = lambda: [line for line in https.words.read_text().splitlines() if "kTLS: " in line]
    https.stop()
    https.write_config(https.tls_config + "tls.kernel = off\n")
    https.start()
    wait_until(lambda: "kTLS: not used: tls.kernel is off" in "".join(told()[-1:]), what="the line")


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


def test_a_broken_pair_on_disk_hinders_neither_a_new_server_nor_a_new_key_process_nor_other_changes(https, tmp_path):
    serial = lambda: subprocess.run(["openssl", "x509", "-noout", "-serial"], input=s_client(https).encode(), capture_output=True).stdout
    first, trusted = serial(), tmp_path / "trusted.pem"
    trusted.write_text(open(https.cert).read())

    def replace(path, text):
        fresh = tmp_path / "fresh"
        fresh.write_text(text)
        fresh.chmod(0o600)
        fresh.rename(path)

    other_key = open(make_pair(tmp_path, "other")[1]).read()
    for path, text in ((https.key, other_key), (https.cert, "no certificate\n"), (https.key, "no key\n")):
        told = len(https.words.read_text())
        replace(path, text)
        wait_until(lambda: any(path in https.words.read_text()[told:] for path in (https.cert, https.key)), 20, what="the pair is named")
        for role in ("server", "keyd"):
            old = https.role(role)
            os.kill(old, signal.SIGKILL)
            wait_until(lambda: https.role(role) not in (None, old), 20)
            got = subprocess.run(["curl", "-sS", "--max-time", "20", "--cacert", trusted, f"https://localhost:{https.https}/a.txt"], capture_output=True)
            assert (got.stdout, serial()) == (b"a", first), got
        https.sysctl(cache__size="128m")
        assert serial() == first
    make_pair(tmp_path, "localhost")
    wait_until(lambda: serial() not in (b"", first), 20)


def test_thousands_of_certificates_are_made_ready_at_their_first_use(make, tmp_path):
    certificate, key = make_pair(tmp_path, "*.many.example")
    port, count = free_port(), 3000
    lines = [f"server.listen_tls = 127.0.0.1:{port}"]
    for n in range(count):
        os.link(certificate, tmp_path / f"c{n}")
        os.link(key, tmp_path / f"k{n}")
        lines += [f"site.s{n}.hosts = h{n}.many.example", f"site.s{n}.root = {{WWW}}", f"site.s{n}.tls.certificate = {tmp_path}/c{n}",
                  f"site.s{n}.tls.key = {tmp_path}/k{n}"]
    server = make("\n".join(lines) + "\n", files={"a.txt": "a"})
    server.https = port
    loaded = lambda: server.counter("tls_certificates_loaded")
    assert loaded() == 0
    for names, expected in (((17,), 1), ((17, 17), 1), ((2999, 0), 3), ((17, 2999), 3)):
        for n in names:
            assert "Verification error" in s_client(server, "-servername", f"h{n}.many.example")
        wait_until(lambda: loaded() == expected, what=f"{expected} certificates: {loaded()}")
    assert server.counter("tls_handshakes") == 7


def records_of(server, path, version):
    """The sizes of the records that one answer came in, on a new connection."""
    context = ssl.create_default_context(cafile=server.cert)
    context.minimum_version = context.maximum_version = version
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(("127.0.0.1", server.https), 20) as plain:
        wire = bytearray()

        def drive(step):
            while True:
                try:
                    return step()
                except ssl.SSLWantReadError:
                    plain.sendall(outgoing.read())
                    got = plain.recv(65536)
                    wire.extend(got)
                    incoming.write(got) if got else incoming.write_eof()
        drive(session.do_handshake)
        session.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        while True:
            try:
                if not drive(lambda: session.read(65536)):
                    break
            except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
                break
    sizes = []
    while wire:
        size = int.from_bytes(wire[3:5], "big")
        if wire[0] == 23:
            sizes.append(size)
        del wire[:5 + size]
    return sizes


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_records_are_small_at_first_and_whole_later(https, version):
    sizes = records_of(https, "/big.bin", version)
    small = [size for size in sizes if size < 1500]
    whole = [size for size in sizes if size > 16_384]
    assert 8 <= len(small) <= 20 and len(whole) >= 3_000_000 // 16_384 - 2, sizes
    assert sizes.index(whole[0]) >= 8, "the client had to wait for a whole one at once"
    assert len(sizes) - len(small) - len(whole) <= 3, sizes  # what is left of a handshake, and the ends


def test_a_cached_body_is_encrypted_from_where_it_lies(https):
    https.put("cached.bin", "y" * 700_000)  # in a file of its own within the cache
    for _ in range(3):
        assert len(curl(https, "/cached.bin", "--http1.1").stdout) == 700_000
    hits = https.counter("cache_hits")
    before = {name: https.counter(name) for name in ("tls_bytes_encrypted", "tls_bytes_gathered", "bytes_copied")}
    for _ in range(4):
        assert len(curl(https, "/cached.bin", "--http1.1").stdout) == 700_000
    wait_until(lambda: https.counter("cache_hits") >= hits + 4)
    more = {name: https.counter(name) - value for name, value in before.items()}
    assert more["tls_bytes_encrypted"] >= 4 * 700_000, more
    assert more["tls_bytes_gathered"] < 8_000 and more["bytes_copied"] < 8_000, more


def peer(server, *words):
    """(subject, kind of key) of the certificate that a client is shown."""
    said = s_client(server, *words)
    shown = subprocess.run(["openssl", "x509", "-noout", "-subject", "-text"], input=said.encode(), capture_output=True).stdout.decode()
    return shown.partition("CN = ")[2].split("\n")[0], "EC" if "id-ecPublicKey" in shown else "RSA" if "rsaEncryption" in shown else shown


def test_the_clients_offer_chooses_between_ecdsa_and_rsa_and_its_name_the_site(make, tmp_path):
    port = free_port()
    lines = [f"server.listen_tls = 127.0.0.1:{port}", "server.default_site = one"]
    for site, hosts in (("one", "one.example"), ("two", "*.two.example")):
        pairs = [make_pair(tmp_path, f"{site}-ec", site), make_pair(tmp_path, f"{site}-rsa", site, kind=("rsa:2048",))]
        lines += [f"site.{site}.hosts = {hosts}", f"site.{site}.root = {{WWW}}", f"site.{site}.tls.certificate = {pairs[0][0]} {pairs[1][0]}",
                  f"site.{site}.tls.key = {pairs[0][1]} {pairs[1][1]}"]
    server = make("\n".join(lines) + "\n")
    server.https = port
    for name, site in (("one.example", "one"), ("a.two.example", "two"), ("A.B.Two.Example", "two"), ("two.example", "one"), ("other.example", "one")):
        for words, kind in (((), "EC"), (("-tls1_3", "-sigalgs", "rsa_pss_rsae_sha256"), "RSA"), (("-tls1_3", "-sigalgs", "ecdsa_secp256r1_sha256"), "EC"),
                            (("-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"), "RSA"), (("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"), "EC")):
            assert peer(server, "-servername", name, *words) == (site, kind), (name, words)
    assert peer(server, "-noservername") == ("one", "EC")
