"""Issue 5 §1: an OCSP response from a file is stapled; one that does not fit is named, and the site is served without."""
import subprocess

import pytest
from http_client import wait_until
from instance import ONE_SITE, free_port


def openssl(*words, **more):
    return subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, **more).stdout


class Authority:
    """A CA, one certificate for localhost by it, and what it says of that."""

    def __init__(self, place):
        self.place = place
        self.ca, self.ca_key = place / "ca.pem", place / "ca.key"
        self.certificate, self.key = place / "site.pem", place / "site.key"
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        openssl("req", "-x509", *curve, "-days", 9, "-keyout", self.ca_key, "-out", self.ca, "-subj", "/CN=authority")
        openssl("req", *curve, "-keyout", self.key, "-out", place / "request", "-subj", "/CN=localhost")
        leaf = openssl("x509", "-req", "-in", place / "request", "-CA", self.ca, "-CAkey", self.ca_key, "-set_serial", "17", "-days", 9)
        self.certificate.write_bytes(leaf + self.ca.read_bytes())

    def respond(self, file, serial=17, status="V"):
        revoked = "250101000000Z" if status == "R" else ""
        index = self.place / "index"
        index.write_text(f"{status}\t330101000000Z\t{revoked}\t{serial:X}\tunknown\t/CN=localhost\n")
        fresh = file.with_suffix(".new")
        openssl("ocsp", "-index", index, "-CA", self.ca, "-issuer", self.ca, "-serial", serial, "-rsigner", self.ca, "-rkey", self.ca_key,
                "-ndays", 3, "-respout", fresh)
        fresh.rename(file)


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def https(make, authority, tmp_path):
    def build():
        port = free_port()
        server = make(ONE_SITE + f"server.listen_tls = 127.0.0.1:{port}\nsite.main.tls.certificate = {authority.certificate}\n"
                      f"site.main.tls.key = {authority.key}\nsite.main.tls.ocsp = {tmp_path}/response.der\n", files={"a.txt": "a"})
        server.https = port
        return server
    return build


def stapled(server, version="-tls1_3"):
    said = subprocess.run(["openssl", "s_client", "-status", "-connect", f"127.0.0.1:{server.https}", version], input=b"", timeout=30,
                          capture_output=True).stdout.decode()
    assert ("OCSP response: no response sent" in said) != ("OCSP Response Status: successful" in said), said
    return "OCSP Response Status: successful" in said


def test_the_response_of_the_file_is_stapled_for_those_who_ask(https, authority, tmp_path):
    authority.respond(tmp_path / "response.der")
    server = https()
    for version in ("-tls1_2", "-tls1_3"):
        assert stapled(server, version)
    curl = subprocess.run(["curl", "-sS", "--cert-status", "--cacert", authority.ca, f"https://localhost:{server.https}/a.txt"], capture_output=True)
    assert curl.stdout == b"a" or b"cert-status" in curl.stderr, curl  # a curl may be built without it


@pytest.mark.parametrize("serial, status, why", [(18, "V", "about another certificate"), (17, "R", "says that the certificate is revoked")])
def test_one_that_does_not_fit_is_named_and_not_stapled_and_its_successor_is(https, authority, tmp_path, serial, status, why):
    response = tmp_path / "response.der"
    authority.respond(response, serial, status)
    server = https()
    wait_until(lambda: f"{response}: " in server.output() and why in server.output(), what="the response is named")
    assert not stapled(server)
    front = server.role("server")
    authority.respond(response)
    wait_until(lambda: stapled(server), 20, what="the new response")
    authority.respond(response, serial, status)
    wait_until(lambda: not stapled(server), 20, what="the bad response")
    assert server.role("server") == front


def test_a_missing_or_broken_file_is_named_and_the_site_is_served(https, tmp_path):
    server = https()
    response = tmp_path / "response.der"
    wait_until(lambda: f"{response}: could not be read" in server.output(), what="the missing file is named")
    assert not stapled(server)
    response.write_text("no response\n")
    wait_until(lambda: "is no OCSP response" in server.output(), 20)
    assert not stapled(server)
    refused = server.cli("sysctl", "-w", f"site.main.tls.ocsp={response} {tmp_path}/other.der", check=False)
    assert refused.returncode == 2 and "at most as many as certificates" in refused.stderr + refused.stdout
