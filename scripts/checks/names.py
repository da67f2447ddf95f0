#!/usr/bin/env python3
"""The tree names no private machine: no home or work folder, no host outside the public list below."""
import re

from tree import Finding, files, main, read

HOSTS = (  # public documents and names reserved for examples (RFC 2606, RFC 6761)
    "localhost", "example", "test", "invalid", "example.com", "example.org", "example.net", "w3.org", "rfc-editor.org", "ietf.org",
    "iana.org", "apache.org", "kernel.org", "man7.org", "debian.org", "github.com", "nginx.org", "freedesktop.org", "unicode.org",
)
URL = re.compile(r"\b(?:https?|ftp|git|ssh)://(?:[^/@\s]*@)?([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*)")
PRIVATE_PATH = re.compile(r"(?<![\w.}])/(?:home/(?!USER\b|user\b)\w+|Users/\w+|work/\w+|workspace/\w+)")
SKIP = (".svg", ".png", ".ico", ".gz", ".br", ".zst", ".xz")


def public(host):
    placeholder = re.fullmatch(r"127\.[\d.]+|[A-Z_]+|\w", host)
    return placeholder or any(host == h or host.endswith("." + h) for h in HOSTS)


def check(root):
    found = []
    for path in files(root):
        if path.endswith(SKIP) or path.startswith("tests/corpus/"):
            continue
        for number, line in enumerate(read(root, path).splitlines(), 1):
            found += [Finding(path, number, f"{host}: not a public host (scripts/checks/names.py, HOSTS)")
                      for host in URL.findall(line) if not public(host) and not public(host.lower())]
            found += [Finding(path, number, f"{match.group(0)}: a path of one machine") for match in PRIVATE_PATH.finditer(line)]
    return found


PRIVATE = "http://" + "mirror.corp.internal/debian"
CASES = [
    ("public and reserved", {"README.md": "https://www.rfc-editor.org/rfc/rfc9112 http://127.0.0.1:8080/ http://a.example/ http://HOST/\n/home/USER/x\n"}, []),
    ("a private host", {"scripts/setup": "\ncurl " + PRIVATE + "\n"}, ["scripts/setup:2: mirror.corp.internal"]),
    ("a home folder", {"src/a.cc": "// see /home" + "/jane/notes\n"}, ["src/a.cc:1: "]),
    ("a work folder", {"src/a.cc": "// see /work" + "/main/notes\n"}, ["src/a.cc:1: "]),
]

if __name__ == "__main__":
    main(check, CASES, __doc__)
