#!/usr/bin/env python3
"""Every header compiles alone (and those of pool/abi as C11 too)."""
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

from tree import ALL_CODE_FOLDERS, Finding, files, main

FLAGS = ["-fsyntax-only", "-D_GNU_SOURCE", "-I.", "-Wall", "-Wextra", "-Werror"]
CXX_FLAGS = ["-x", "c++", "-std=c++2b", "-fno-rtti"]
C_FLAGS = ["-x", "c", "-std=c11"]


def compiler():
    return os.environ.get("CXX") or next(c for c in ("clang++-19", "c++") if shutil.which(c))


def compile_alone(root, path, language):
    command = [compiler(), *language, *FLAGS, "-"]
    done = subprocess.run(command, cwd=root, input=f'#include "{path}"\n', capture_output=True, text=True)
    if done.returncode == 0:
        return None
    error = re.search(r"^(?P<file>[^:\n]+):(?P<line>\d+):\d+: (?:fatal )?error: (?P<text>.*)$", done.stderr, re.M)
    if error is None:
        return Finding(path, 1, f"does not compile alone: {done.stderr.strip()[:300]}")
    line = int(error["line"]) if error["file"].endswith(path) else 1
    return Finding(path, line, f"does not compile alone: {error['text']}" + ("" if line > 1 else f" ({error['file']})"))


def check(root):
    jobs = [(h, CXX_FLAGS) for h in files(root, (".h",), ALL_CODE_FOLDERS)]
    jobs += [(h, C_FLAGS) for h, _ in jobs if h.startswith("pool/abi/")]
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 2)) as pool:
        return [f for f in pool.map(lambda job: compile_alone(root, *job), jobs) if f]


CASES = [
    ("complete", {"src/base/a.h": "#pragma once\n#include <cstdint>\ninline uint64_t f() { return 1; }\n"}, []),
    ("uses what it does not include", {"src/base/a.h": "#pragma once\ninline std::string f();\n"}, ["src/base/a.h:2: "]),
    ("an ABI header must be C", {"pool/abi/a.h": "#pragma once\n\nnamespace n {}\n"}, ["pool/abi/a.h:3: "]),
]

if __name__ == "__main__":
    main(check, CASES, __doc__)
