"""Authorities, clients' certificates and revocation lists, made by openssl."""
import subprocess
from pathlib import Path

SETTINGS = """
[ca]
default_ca = this
[this]
database = {dir}/index
crlnumber = {dir}/crlnumber
new_certs_dir = {dir}
certificate = {dir}/ca.pem
private_key = {dir}/ca.key
default_md = sha256
default_crl_days = 3
policy = any
x509_extensions = client
serial = {dir}/serial
[any]
commonName = supplied
[client]
extendedKeyUsage = clientAuth
"""


def openssl(*words, where=None):
    return subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, cwd=where).stdout.decode()


class Authority:
    def __init__(self, directory, name):
        self.dir = Path(directory) / name
        self.dir.mkdir()
        for file, text in {"index": "", "crlnumber": "01\n", "serial": "1000\n", "settings": SETTINGS.format(dir=self.dir)}.items():
            (self.dir / file).write_text(text)
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", 3, "-subj", f"/CN={name}",
                "-keyout", self.dir / "ca.key", "-out", self.dir / "ca.pem")
        self.pem, self.crl = self.dir / "ca.pem", self.dir / "crl.pem"
        self.write_crl()

    def issue(self, name, start="20200101000000Z", end="20991231235959Z"):
        """The paths of a client's certificate and key."""
        cert, key, request = (self.dir / f"{name}.{end_}" for end_ in ("pem", "key", "csr"))
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        openssl("ca", "-batch", "-config", self.dir / "settings", "-in", request, "-out", cert, "-notext", "-startdate", start, "-enddate", end)
        return cert, key

    def revoke(self, cert):
        openssl("ca", "-config", self.dir / "settings", "-revoke", cert)
        self.write_crl()

    def write_crl(self):
        fresh = self.dir / "crl.new"
        openssl("ca", "-config", self.dir / "settings", "-gencrl", "-out", fresh)
        fresh.rename(self.dir / "crl.pem")


def fingerprint(cert):
    return openssl("x509", "-in", cert, "-noout", "-fingerprint", "-sha256").split("=")[1].strip().replace(":", "").lower()
