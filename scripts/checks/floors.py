#!/usr/bin/env python3
"""The floors: a file includes its own folder and lower floors only; a foreign header has one home.

cache/ and pool/ see src/base and themselves. src/server alone knows its neighbours. Fuzzers, tests and
benchmarks stand above everything; nothing in the binary includes them.
"""
from tree import CODE_FOLDERS, CXX, Finding, files, includes, main

# Longest prefix wins. A prefix without a final slash covers files and folders that begin so.
FLOORS = {
    "src/base/": 0,
    "src/uring/": 1, "src/net/wire/": 1, "pool/abi/": 1,
    "src/transport/": 2, "src/net/": 2, "src/http/": 2, "src/tls/": 2, "src/config/": 2, "src/log/": 2,
    "cache/": 2, "pool/ring/": 2,
    "src/transport/uring": 3, "src/transport/epoll": 3, "src/transport/dpdk": 3,
    "src/transport/engine": 3, "src/http/h2/": 3,
    "src/transport/select": 3,  # opens one of the implementations
    "src/tls/tls_": 3,          # the transport, and what it is made of; below it certificates and keys
    "src/files/": 3, "src/route/": 3, "src/auth/": 3,
    "pool/queue/": 3, "pool/sandbox/": 3, "pool/sdk/": 3,
    "pool/runtimes/": 4,  # programs on the library
    "src/server/": 4, "src/admin/": 4, "pool/supervisor/": 4, "src/log/drain": 4,
    "src/roles/": 5, "src/cli/": 5, "src/main.cc": 5,
}
NEIGHBOURS_ALLOWED = ("src/server/", "src/roles/", "src/cli/", "src/main.cc", "src/transport/select")
ISLANDS = ("cache/", "pool/")  # these see src/base and themselves, nothing else of ours
OURS = ("src/", "cache/", "pool/", "tests/", "perf/", "scripts/")

# Foreign header (prefix of the spelling inside the brackets) → the folders that may name it.
HOMES = {
    "liburing": ("src/uring/",), "linux/io_uring": ("src/uring/",),
    "seccomp.h": ("pool/sandbox/",), "linux/seccomp.h": ("pool/sandbox/",), "linux/landlock.h": ("pool/sandbox/",),
    "linux/filter.h": ("pool/sandbox/",), "cap-ng.h": ("pool/sandbox/",), "sys/capability.h": ("pool/sandbox/",),
    "CLI/": ("src/cli/",), "nlohmann/": ("src/admin/", "src/cli/"),
    "zlib.h": ("src/files/",), "brotli/": ("src/files/",), "zstd": ("src/files/",),
    "xxhash.h": ("src/base/",), "openssl/": ("src/tls/",), "nghttp2/": ("src/http/h2/",),
    "rte_": ("src/transport/dpdk/",), "systemd/": ("src/roles/",), "mimalloc": ("src/roles/", "src/main.cc"),
    "Python.h": ("pool/runtimes/wsgi/",),
    "gtest/": (), "gmock/": (), "benchmark/": (),
}


def place(path):
    """(prefix, floor) of a file of ours, or None where DESIGN names no floor for it."""
    best = max((p for p in FLOORS if path.startswith(p)), key=len, default=None)
    return None if best is None else (best, FLOORS[best])


def judge_ours(path, target):
    if path.endswith("_fuzz.cc") and target.startswith("tests/support/"):
        return None  # a fuzzer is a test that lives beside its parser
    if not target.startswith(CODE_FOLDERS):
        return f"includes {target}: tests, benchmarks and scripts are not part of the binary"
    for island in ISLANDS:
        if path.startswith(island) and not target.startswith(("src/base/", island)):
            return f"includes {target}: {island} knows only src/base and itself"
    if path.startswith("pool/abi/") and not target.startswith("pool/abi/"):
        return f"includes {target}: pool/abi includes nothing of ours"
    here, there = place(path), place(target)
    if there is None:
        return f"includes {target}: no floor is written down for it (scripts/checks/floors.py, FLOORS)"
    if there[1] > here[1]:
        return f"includes {target}: from floor {here[1]} up to floor {there[1]}"
    if there[1] == here[1] and there[0] != here[0] and not path.startswith(NEIGHBOURS_ALLOWED):
        return f"includes {target}: a neighbour on floor {here[1]}"
    return None


def judge_foreign(path, header):
    for prefix, homes in HOMES.items():
        if header.startswith(prefix) and not path.startswith(homes if homes else "\0"):
            return f"includes <{header}>: its home is {' or '.join(homes) if homes else 'the tests'}"
    return None


def check(root):
    found = []
    for path in files(root, CXX, CODE_FOLDERS):
        if place(path) is None:
            found.append(Finding(path, 1, "no floor is written down for this file (scripts/checks/floors.py, FLOORS)"))
            continue
        for line, spelling in includes(root, path):
            name = spelling[1:-1]
            ours = name.startswith(OURS)
            if spelling[0] == '"' and not ours:
                text = f'includes "{name}": write it from the project root'
            else:
                text = judge_ours(path, name) if ours else judge_foreign(path, name)
            if text:
                found.append(Finding(path, line, text))
    return found


CASES = [
    ("downward is fine", {"src/http/a.h": '#include "src/base/b.h"\n#include <vector>\n', "src/base/b.h": ""}, []),
    ("upward is found", {"src/base/b.h": "\n#include \"src/http/a.h\"\n", "src/http/a.h": ""}, ["src/base/b.h:2: "]),
    ("a neighbour is found", {"src/http/a.h": '#include "src/config/c.h"\n'}, ["src/http/a.h:1: "]),
    ("the hub knows its neighbours", {"src/server/a.h": '#include "src/admin/c.h"\n'}, []),
    ("cache is an island", {"cache/a.h": '#include "src/uring/c.h"\n'}, ["cache/a.h:1: "]),
    ("a drain is above the journal", {"src/log/ring.h": '#include "src/log/drain.h"\n'}, ["src/log/ring.h:1: "]),
    ("an implementation is above its seam", {"src/transport/transport.h": '#include "src/transport/epoll/e.h"\n'},
     ["src/transport/transport.h:1: "]),
    ("liburing has one home", {"src/http/a.h": "#include <liburing.h>\n", "src/uring/u.h": "#include <liburing.h>\n"},
     ["src/http/a.h:1: "]),
    ("a test framework stays out", {"src/http/a.cc": "#include <gtest/gtest.h>\n"}, ["src/http/a.cc:1: "]),
    ("project-rooted only", {"src/http/a.cc": '#include "a.h"\n'}, ["src/http/a.cc:1: "]),
    ("a commented include is none", {"src/base/b.h": '// #include "src/http/a.h"\n'}, []),
    ("an unknown folder is found", {"src/new/b.h": ""}, ["src/new/b.h:1: "]),
]

if __name__ == "__main__":
    main(check, CASES, __doc__)
