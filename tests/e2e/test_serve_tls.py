"""Issue 5 §1: https in one command, by a CA and a certificate of this machine's own."""
import os
import re
import shutil
import signal
import subprocess

import pytest
from demo import FEATURES
from http_client import wait_until
from instance import BINARY, TREE, free_port

CERTIFICATE = TREE / "scripts/local_certificate"


def make_certificate(state, *addresses):
    return subprocess.run([CERTIFICATE, state, *addresses], capture_output=True, text=True, timeout=60)


def openssl(*words, **more):
    return subprocess.run(["openssl", *words], check=True, capture_output=True, **more).stdout


def serial(certificate):
    return openssl("x509", "-in", certificate, "-noout", "-serial")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    state = tmp_path_factory.mktemp("made") / "tls"
    done = make_certificate(state)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 2, done
    return state


@pytest.fixture
def state(made, tmp_path):
    return shutil.copytree(made, tmp_path / "tls", symlinks=True)


def test_what_was_made_once_stays(state):
    before = serial(state / "ca.pem"), serial(state / "site.pem")
    done = make_certificate(state)
    assert (done.returncode, done.stdout) == (0, "")
    assert (serial(state / "ca.pem"), serial(state / "site.pem")) == before
    for name in ("ca.key", "site.key"):
        assert (state / name).stat().st_mode & 0o077 == 0
    assert b"id-ecPublicKey" in openssl("x509", "-in", state / "site.pem", "-noout", "-text")


def test_a_certificate_that_ends_soon_is_made_anew_by_the_same_ca(state):
    authority = serial(state / "ca.pem")
    request = openssl("req", "-new", "-key", state / "site.key", "-subj", "/CN=localhost")
    (state / "site.pem").write_bytes(openssl("x509", "-req", "-CA", state / "ca.pem", "-CAkey", state / "ca.key", "-days", "29", input=request))
    ending = serial(state / "site.pem")
    assert "made a certificate" in make_certificate(state).stdout
    assert serial(state / "site.pem") != ending
    assert serial(state / "ca.pem") == authority
    openssl("verify", "-CAfile", state / "ca.pem", state / "site.pem")


@pytest.mark.parametrize("name", ["site.key", "site.pem"])
def test_what_is_broken_is_made_anew(state, name):
    (state / name).write_text("nothing\n")
    assert "made a certificate" in make_certificate(state).stdout
    openssl("verify", "-CAfile", state / "ca.pem", state / "site.pem")


def test_another_address_takes_another_certificate_and_a_public_one_is_refused(state):
    assert "made a certificate" in make_certificate(state, "192.168.7.7").stdout
    assert b"192.168.7.7" in openssl("x509", "-in", state / "site.pem", "-noout", "-ext", "subjectAltName")
    assert make_certificate(state, "192.168.7.7").stdout == ""
    kept = serial(state / "site.pem")
    refused = make_certificate(state, "192.0.2.7")
    assert refused.returncode == 1 and "may not vouch" in refused.stderr
    assert serial(state / "site.pem") == kept


def test_the_ca_is_of_no_use_against_other_sites(state, tmp_path):
    request = openssl("req", "-new", "-key", state / "site.key", "-subj", "/CN=bank.example")
    (tmp_path / "ext").write_text("subjectAltName = DNS:bank.example\n")
    forged = tmp_path / "forged.pem"
    forged.write_bytes(openssl("x509", "-req", "-CA", state / "ca.pem", "-CAkey", state / "ca.key", "-extfile", tmp_path / "ext", input=request))
    refused = subprocess.run(["openssl", "verify", "-CAfile", state / "ca.pem", forged], capture_output=True, text=True)
    assert refused.returncode != 0 and "permitted subtree violation" in refused.stderr + refused.stdout


def test_serve_tells_how_to_trust_it_and_serves_https(state, tmp_path, make):
    place = make(start=False)  # a folder that every user may read
    place.put("index.html", "home")
    secure = free_port()
    words = tmp_path / "words"
    with open(words, "wb") as out:
        served = subprocess.Popen([TREE / "scripts/serve", f"--tls=127.0.0.1:{secure}", place.www, "--listen", f"127.0.0.1:{place.port}",
                                   "--control", place.control], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                  env={**os.environ, "PENSTOCK": str(BINARY), "PENSTOCK_TLS_STATE": str(state)})
    try:
        told = wait_until(lambda: re.search(r"^  (curl --cacert \S+ https://localhost:\d+/)$", words.read_text(), re.M), 20, what="its words")
        ask = told[1].split() + ["-sS", "--max-time", "10"]
        wait_until(lambda: subprocess.run(ask, capture_output=True).stdout == b"home" or served.poll() is not None, 20, what=words.read_text())
        version = subprocess.run([*ask, "-o", "/dev/null", "-w", "%{http_version}"], capture_output=True, text=True).stdout
        assert version == ("2" if FEATURES["http/2"]["available"] else "1.1")
    finally:
        served.send_signal(signal.SIGTERM)
        assert served.wait(20) == 0, words.read_text()


def test_serve_refuses_an_address_that_is_none(tmp_path):
    done = subprocess.run([TREE / "scripts/serve", "--tls=8443", tmp_path], capture_output=True, text=True, timeout=60,
                          env={**os.environ, "PENSTOCK": str(BINARY)})
    assert done.returncode == 1 and "--tls=ADDRESS:PORT" in done.stderr
