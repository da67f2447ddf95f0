"""FEATURES TL8: groups of the key exchange, compressed certificates and ECH follow the TLS library; their keys are live and say what they lack."""
import re
import subprocess

import pytest
from instance import BINARY, ONE_SITE, free_port, make_pair

WORDS = b"GET /a.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@pytest.fixture
def https(make, tmp_path):
    certificate, key = make_pair(tmp_path, "localhost")
    port = free_port()
    server = make(ONE_SITE + f"server.listen_tls = 127.0.0.1:{port}\nsite.main.tls.certificate = {certificate}\nsite.main.tls.key = {key}\n"
                  "server.reactors = 1\n", files={"a.txt": "a"})
    server.https = port
    return server


def group(server, *more):
    """What openssl s_client says the key was agreed on in."""
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{server.https}", "-ign_eof", *more], input=WORDS, timeout=30, capture_output=True)
    said = (done.stdout + done.stderr).decode(errors="replace")
    found = re.search(r"(?:Server Temp Key: (?:ECDH, )?|Negotiated TLS1.3 group: )([\w-]+)", said)
    return found[1] if found and "HTTP/1.1 200" in said else said


def test_groups_of_the_key_exchange_are_chosen_live(https):
    assert group(https) == "X25519"
    https.sysctl(tls__groups="P-384 X25519")
    assert group(https, "-groups", "P-384:X25519") in ("secp384r1", "P-384")
    assert group(https, "-groups", "X25519", "-tls1_3") == "X25519"
    assert "alert handshake failure" in group(https, "-groups", "P-256", "-tls1_3")
    assert "alert handshake failure" in group(https, "-groups", "P-256", "-tls1_2")
    https.sysctl(tls__groups="?X25519MLKEM768 ?no-such-group P-256")
    assert group(https, "-groups", "P-256") in ("prime256v1", "P-256", "secp256r1")
    https.sysctl(tls__groups="", tls__certificate_compression="?zlib ?brotli ?zstd")
    assert group(https) == "X25519"


def test_what_the_library_has_not_is_refused_by_name_and_place(https, tmp_path):
    for key, value, words in (("tls.groups", "X25519 no-such-group", "knows (X25519, P-256"), ("tls.groups", "?no-such-group", "at least one group"),
                              ("tls.groups", "P-256 prime256v1", "each group once"), ("tls.ech", "1", "Encrypted Client Hello")):
        refused = https.cli("sysctl", "-w", f"{key}={value}", check=False)
        assert refused.returncode != 0 and key in refused.stderr and words in refused.stderr, refused.stderr
    config = tmp_path / "bad.conf"
    config.write_text("site.main.hosts = *\nsite.main.root = /\ntls.groups = P-256 no-such-group\n")
    checked = subprocess.run([BINARY, "check", "-c", config], capture_output=True, text=True, timeout=20)
    assert checked.returncode == 2 and f"{config}:3: tls.groups: " in checked.stderr and '"no-such-group"' in checked.stderr, checked.stderr
    assert group(https) == "X25519"
