#!/usr/bin/env python3
"""Every header compiles alone (and those for programs in C as C11 too).

x.cc includes x.h before anything else, so the build has shown it of x.h; the others are compiled here.
"""
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

from tree import ALL_CODE_FOLDERS, Finding, files, includes, main

FLAGS = ["-fsyntax-only", "-D_GNU_SOURCE", "-I.", "-Wall", "-Wextra", "-Werror", "-Wno-pragma-once-outside-header", "-Wno-unused-function",
         "-Wno-unused-const-variable"]
CXX_FLAGS = ["-x", "c++", "-std=c++2b", "-fno-rtti"]
C_FLAGS = ["-x", "c", "-std=c11"]
FOR_C = ("pool/abi/", "pool/sdk/penstock_worker.h")


def compiler():
    return [*(["ccache"] if shutil.which("ccache") else []), "clang++-19"]  # g++ warns of each header that is compiled itself


def compile_alone(root, path, language):
    command = [*compiler(), *language, *FLAGS, path, "-o", os.devnull]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if done.returncode == 0:
        return None
    error = re.search(r"^(?P<file>[^:\n]+):(?P<line>\d+):\d+: (?:fatal )?error: (?P<text>.*)$", done.stderr, re.M)
    if error is None:
        return Finding(path, 1, f"does not compile alone: {done.stderr.strip()[:300]}")
    line = int(error["line"]) if error["file"].endswith(path) else 1
    return Finding(path, line, f"does not compile alone: {error['text']}" + ("" if line > 1 else f" ({error['file']})"))


def first_include(root, source):
    return next(((line, spelling[1:-1]) for line, spelling in includes(root, source)), (1, ""))


def check(root):
    headers = files(root, (".h", ".hpp"), ALL_CODE_FOLDERS)
    found, shown = [], set()
    for source in files(root, (".cc",), ALL_CODE_FOLDERS):
        line, first = first_include(root, source)
        shown.add(first)
        own = source.removesuffix(".cc") + ".h"
        if own in headers and first != own:
            found.append(Finding(source, line, f"includes {first} before {own}: its own header comes first"))
    jobs = [(h, CXX_FLAGS) for h in headers if h not in shown]
    jobs += [(h, C_FLAGS) for h in headers if h.startswith(FOR_C) and h.endswith(".h")]
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 2)) as pool:
        return found + [f for f in pool.map(lambda job: compile_alone(root, *job), jobs) if f]


CASES = [
    ("complete", {"src/base/a.h": "#pragma once\n#include <cstdint>\ninline uint64_t f() { return 1; }\n"}, []),
    ("uses what it does not include", {"src/base/a.h": "#pragma once\ninline std::string f();\n"}, ["src/base/a.h:2: "]),
    ("its own header comes first", {"src/base/a.h": "#pragma once\n", "src/base/b.h": "#pragma once\n", "src/base/a.cc": '#include "src/base/b.h"\n#include "src/base/a.h"\n'},
     ["src/base/a.cc:1: "]),
    ("an ABI header must be C", {"pool/abi/a.h": "#pragma once\n\nnamespace n {}\n"}, ["pool/abi/a.h:3: "]),
]

if __name__ == "__main__":
    main(check, CASES, __doc__)
