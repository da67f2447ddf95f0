#!/usr/bin/env python3
"""Every header compiles alone (and those for programs in C as C11 too).

The standard library and three others are precompiled, which takes most of the time away; that a header includes what it
uses of them is seen from the names in it. x.cc includes x.h before anything else, so that a build of x.cc shows it of x.h;
where several sources are compiled as one, `apart` holds that each file includes what it names of the project's.
"""
import os
import re
import subprocess
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tree import ALL_CODE_FOLDERS, Finding, code_only, files, includes, main, read

FLAGS = ["-fsyntax-only", "-D_GNU_SOURCE", "-I.", "-Wall", "-Wextra", "-Werror", "-Wno-pragma-once-outside-header", "-Wno-unused-function",
         "-Wno-unused-const-variable", "-Wno-missing-field-initializers", "-I" + sysconfig.get_paths()["include"]]
CXX_FLAGS = ["-x", "c++", "-std=c++2b", "-fno-rtti"]
C_FLAGS = ["-x", "c", "-std=c11"]
FOR_C = ("pool/abi/", "pool/sdk/penstock_worker.h")
# Names of what is precompiled, and the headers any of which gives them.
STANDARD = [(re.compile(rf"\bstd::(?:{names})\b"), headers.split()) for names, headers in (
    ("array", "array"), ("atomic", "atomic"), ("memory_order\\w*", "atomic"), ("bit_cast|bit_ceil|countr_zero|popcount", "bit"),
    ("from_chars|to_chars", "charconv"), ("condition_variable", "condition_variable"), ("deque", "deque"), ("expected|unexpected", "expected"),
    ("function", "functional"), ("future|promise", "future"), ("initializer_list", "initializer_list string string_view vector map span array"),
    ("numeric_limits", "limits"), ("list", "list"), ("map|multimap", "map"), ("unique_ptr|shared_ptr|weak_ptr|make_unique|make_shared", "memory"),
    ("mutex|lock_guard|unique_lock|scoped_lock", "mutex"), ("optional|nullopt", "optional"), ("ostream", "ostream iosfwd iostream sstream"),
    ("queue", "queue"), ("set", "set"), ("span", "span"), ("string|to_string", "string"), ("string_view", "string_view string"),
    ("thread|jthread", "thread"), ("tuple", "tuple"), ("unordered_map", "unordered_map"), ("unordered_set", "unordered_set"),
    ("exchange|forward|move|pair", "utility algorithm array deque expected functional map memory optional span string string_view tuple"
     " unordered_map variant vector"), ("variant|visit", "variant"), ("vector", "vector"))]
OTHERS = [(re.compile(r"\bfmt::"), ["fmt/format.h", "fmt/core.h"]), (re.compile(r"\bnlohmann::"), ["nlohmann/json.hpp", "nlohmann/json_fwd.hpp"]),
          (re.compile(r"\btesting::"), ["gtest/gtest.h"])]
INCLUDED = re.compile(r"^\s*#\s*include\s*<([\w/.]+)>", re.M)


def precompile(folder):
    """The options by which a C++ header is compiled with the libraries at hand that most of them include."""
    source = Path(folder, "standard.h")
    names = sorted({name for _, headers in STANDARD for name in headers} | {"algorithm", "cstdint", "ranges"} | {headers[0] for _, headers in OTHERS})
    source.write_text("".join(f"#if __has_include(<{name}>)\n#include <{name}>\n#endif\n" for name in names))
    made = source.with_suffix(".pch")
    done = subprocess.run(["clang++-19", "-x", "c++-header", *CXX_FLAGS[2:], "-D_GNU_SOURCE", "-fpch-instantiate-templates", source, "-o", made],
                          capture_output=True, text=True)
    return ["-include-pch", str(made)] if done.returncode == 0 else []


def compile_alone(root, path, language):
    done = subprocess.run(["clang++-19", *language, *FLAGS, path, "-o", os.devnull], cwd=root, capture_output=True, text=True)
    if done.returncode == 0:
        return None
    error = re.search(r"^(?P<file>[^:\n]+):(?P<line>\d+):\d+: (?:fatal )?error: (?P<text>.*)$", done.stderr, re.M)
    if error is None:
        return Finding(path, 1, f"does not compile alone: {done.stderr.strip()[:300]}")
    line = int(error["line"]) if error["file"].endswith(path) else 1
    return Finding(path, line, f"does not compile alone: {error['text']}" + ("" if line > 1 else f" ({error['file']})"))


def unnamed(root, path):
    """Names of the standard library whose header is not included."""
    text = read(root, path)
    code, included = code_only(text), set(INCLUDED.findall(text))
    for names, headers in STANDARD + OTHERS:
        use = names.search(code)
        if use and not included.intersection(headers):
            yield Finding(path, code.count("\n", 0, use.start()) + 1, f"uses {use[0]} and does not include <{headers[0]}>")


def first_include(root, source):
    return next(((line, spelling[1:-1]) for line, spelling in includes(root, source)), (1, ""))


def check(root):
    headers = files(root, (".h", ".hpp"), ALL_CODE_FOLDERS)
    found, shown = [finding for header in headers for finding in unnamed(root, header)], set()
    for source in files(root, (".cc",), ALL_CODE_FOLDERS):
        line, first = first_include(root, source)
        shown.add(first)
        own = source.removesuffix(".cc") + ".h"
        if own in headers and first != own:
            found.append(Finding(source, line, f"includes {first} before {own}: its own header comes first"))
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 2)) as pool:
        flags = [*CXX_FLAGS, *precompile(scratch)]
        jobs = [(h, flags) for h in headers if h not in shown] + [(h, C_FLAGS) for h in headers if h.startswith(FOR_C) and h.endswith(".h")]
        return found + [f for f in pool.map(lambda job: compile_alone(root, *job), jobs) if f]


CASES = [
    ("complete", {"src/base/a.h": "#pragma once\n#include <cstdint>\ninline uint64_t f() { return 1; }\n"}, []),
    ("uses what it does not include", {"src/base/a.h": "#pragma once\ninline std::string f();\n"}, ["src/base/a.h:2: "]),
    ("names what it does not include", {"src/base/a.h": "#pragma once\ninline T f();\n"}, ["src/base/a.h:2: "]),
    ("its project header alone declares it", {"src/base/a.h": "#pragma once\nstruct A {};\n", "src/base/b.h": "#pragma once\ninline A* f();\n"},
     ["src/base/b.h:2: "]),
    ("its own header comes first", {"src/base/a.h": "#pragma once\n", "src/base/b.h": "#pragma once\n", "src/base/a.cc": '#include "src/base/b.h"\n#include "src/base/a.h"\n'},
     ["src/base/a.cc:1: "]),
    ("an ABI header must be C", {"pool/abi/a.h": "#pragma once\n\nnamespace n {}\n"}, ["pool/abi/a.h:3: "]),
]

if __name__ == "__main__":
    main(check, CASES, __doc__)
