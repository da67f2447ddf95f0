"""The servers with TLS and HTTP/2: one certificate (ECDSA, P-256), and tickets for sessions, on each."""
import subprocess

import servers


def make_certificate(scratch):
    """A certificate that signs itself, and its key."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3",
                    "-keyout", scratch / "bench.key", "-out", scratch / "bench.pem", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"], check=True, capture_output=True)


class Secure:
    """In front of a server's class: a port for TLS beside the plain one."""
    tls = ""

    def __init__(self, scratch, core):
        super().__init__(scratch, core)
        self.tls_port = servers.free_port()

    def template(self, name, **more):
        values = {"TLS_PORT": self.tls_port, "PAIR": self.scratch / "bench"}
        text = self.tls
        for key, value in values.items():
            text = text.replace(f"@{key}@", str(value))
        return super().template(name, **more | {"TLS": text})


class SecureNginx(Secure, servers.Nginx):
    tls = """    listen 127.0.0.1:@TLS_PORT@ ssl http2 reuseport backlog=4096;
    ssl_certificate @PAIR@.pem;
    ssl_certificate_key @PAIR@.key;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_tickets on;
    ssl_session_cache off;
    http2_max_concurrent_streams 128;"""


class SecureH2o(Secure, servers.H2o):
    tls = """    listen:
      host: 127.0.0.1
      port: @TLS_PORT@
      ssl:
        certificate-file: @PAIR@.pem
        key-file: @PAIR@.key
        minimum-version: TLSv1.2"""


class SecurePenstock(Secure, servers.Penstock):
    tls = """server.listen_tls = 127.0.0.1:@TLS_PORT@
site.bench.tls.certificate = @PAIR@.pem
site.bench.tls.key = @PAIR@.key
http2.cleartext = 1"""


class OverH2c(SecurePenstock):
    name, client = "penstock-h2c", "h2c"


class OverH1(SecurePenstock):
    name, client = "penstock-h1", "h1 in cleartext"


class OverH2(SecurePenstock):
    name, client = "penstock-h2", "h2"


class OverH1Tls(SecurePenstock):
    name, client = "penstock-h1-tls", "h1"


KINDS = {kind.name: kind for kind in (SecurePenstock, SecureNginx, SecureH2o, OverH2c, OverH1, OverH2, OverH1Tls)}
