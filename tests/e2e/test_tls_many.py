"""Issue 5 §1: a change of thousands of certificates at once: all that are new are looked at, and one that does not fit keeps all of them out.

PENSTOCK_TEST_LONG=1: ten thousand, which takes the server longer than it may be silent."""
import os
import shutil
import subprocess

import pytest
from http_client import wait_until
from instance import free_port, make_pair

COUNT = 10_000 if os.environ.get("PENSTOCK_TEST_LONG") else 400


@pytest.fixture
def many(make, tmp_path):
    pairs = {}
    for name in ("before", "after", "foreign"):
        (tmp_path / name).mkdir()
        pairs[name] = make_pair(tmp_path / name, "*.many.example")
        os.chmod(pairs[name][1], 0o600)
    port = free_port()
    lines = [f"server.listen_tls = 127.0.0.1:{port}"]
    for n in range(COUNT):
        lines += [f"site.s{n}.hosts = h{n}.many.example", f"site.s{n}.root = {{WWW}}", f"site.s{n}.tls.certificate = {tmp_path}/c{n}",
                  f"site.s{n}.tls.key = {tmp_path}/k{n}"]

    def put(n, name, key=None):
        for prefix, file in (("c", pairs[name][0]), ("k", pairs[key or name][1])):
            shutil.copy(file, tmp_path / "new")
            os.replace(tmp_path / "new", tmp_path / f"{prefix}{n}")

    for n in range(COUNT):
        put(n, "before")
    config = "\n".join(lines) + "\n"
    server = make(config, files={"a.txt": "a"})
    server.https, server.pairs, server.put, server.tls_config = port, pairs, put, config
    return server


def serial_of(server, n):
    shown = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{server.https}", "-servername", f"h{n}.many.example"],
                           input=b"", timeout=60, capture_output=True).stdout
    return subprocess.run(["openssl", "x509", "-noout", "-serial"], input=shown, capture_output=True).stdout


def serial_in(pair):
    return subprocess.run(["openssl", "x509", "-noout", "-serial", "-in", pair[0]], capture_output=True).stdout


def test_a_foreign_key_behind_hundreds_that_are_new_keeps_all_of_them_out_and_is_named(many, tmp_path):
    front, last = many.role("server"), COUNT - 1
    before, after = serial_in(many.pairs["before"]), serial_in(many.pairs["after"])
    for n in range(COUNT):
        many.put(n, "after", key="foreign" if n == last else None)
    refused = f"{tmp_path}/k{last} does not belong to the certificate"
    wait_until(lambda: refused in many.words.read_text(), 120, what="the refusal")
    assert [serial_of(many, n) for n in (0, last)] == [before, before]
    many.put(last, "after")
    wait_until(lambda: serial_of(many, 0) == after, 120, what="the new ones")
    assert serial_of(many, last) == after
    assert many.role("server") == front


def test_a_change_that_takes_a_new_server_is_looked_at_whole_as_well(many, tmp_path):
    """A root that the sandbox of the running server does not reach, and a foreign key behind hundreds of new paths."""
    front, last = many.role("server"), COUNT - 1
    (tmp_path / "elsewhere").mkdir()
    for n in range(COUNT):
        for prefix, file in (("d", many.pairs["after"][0]), ("e", many.pairs["foreign" if n == last else "after"][1])):
            os.link(file, tmp_path / f"{prefix}{n}")
    changed = many.tls_config.replace(f"{tmp_path}/c", f"{tmp_path}/d").replace(f"{tmp_path}/k", f"{tmp_path}/e")
    changed += f"site.other.hosts = other.example\nsite.other.root = {tmp_path}/elsewhere\n"
    many.write_config(changed)
    refused = f"{tmp_path}/e{last} does not belong to the certificate"
    wait_until(lambda: refused in many.words.read_text(), 120, what="the refusal")
    assert many.role("server") == front
    assert serial_of(many, last) == serial_in(many.pairs["before"])
