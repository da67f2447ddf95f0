"""Issue 5 §1: what testssl.sh, which knows the attacks of twenty years, says of the defaults."""
import json
import os
import subprocess

from conftest import needs
from instance import ONE_SITE, TREE, free_port

# A CA of this machine publishes nothing, and no certificate is in a public log or in DNS.
OF_A_PUBLIC_CA = {"cert_revocation", "cert_crlDistributionPoints", "cert_ocspURL", "OCSP_stapling", "DNS_CAArecord", "certificate_transparency"}
# All that it looks at but what known clients would agree on, which it has no opinion of: protocols, kinds of ciphers, forward secrecy, the
# server's choice, certificates, headers, vulnerabilities.
PARTS = [] if os.environ.get("PENSTOCK_TESTSSL") else ["-p", "-s", "-f", "-P", "-S", "-h", "-U"]
ONE_OF_EACH = {"TLS1_3", "cipherlist_AVERAGE", "PFS", "cipher_order", "cert_chain_of_trust", "HSTS_time", "heartbleed", "ROBOT", "secure_client_renego", "RC4"}


@needs("testssl")
def test_nothing_is_reported_at_low_or_above(make, tmp_path):
    place = tmp_path / "tls"
    subprocess.run([TREE / "scripts/local_certificate", place], check=True, capture_output=True)
    port = free_port()
    server = make(ONE_SITE + f"server.listen_tls = 127.0.0.1:{port}\nsite.main.tls.certificate = {place}/site.pem\n"
                  f"site.main.tls.key = {place}/site.key\nsite.main.hsts.enable = 1\nserver.header = none\n"
                  "site.main.header.X-Content-Type-Options = nosniff\nsite.main.header.X-Frame-Options = DENY\n", files={"index.html": "home"})
    report = tmp_path / "report.json"
    subprocess.run(["testssl", "--quiet", "--color", "0", "--warnings", "off", "--add-ca", place / "ca.pem", "--ip", "127.0.0.1", "--nodns", "none",
                    "--jsonfile", report, *PARTS, f"localhost:{port}"], stdin=subprocess.DEVNULL, capture_output=True, timeout=550)
    findings = json.loads(report.read_text())
    seen = {one["id"].split(" ")[0] for one in findings}
    assert not (missing := ONE_OF_EACH - seen), (missing, seen)
    found = [one for one in findings if one["severity"] in ("LOW", "MEDIUM", "HIGH", "CRITICAL", "FATAL") and one["id"].split(" ")[0] not in OF_A_PUBLIC_CA]
    assert not found, json.dumps(found, indent=1)
    assert server.process.poll() is None
