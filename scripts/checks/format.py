#!/usr/bin/env python3
"""The tree is formatted as clang-format 14 (Debian 12's) does with .clang-format."""
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tree import ALL_CODE_FOLDERS, CXX, Finding, files, main


def formatter():
    for name in ("clang-format-14", "clang-format"):
        if shutil.which(name):
            version = subprocess.run([name, "--version"], capture_output=True, text=True, check=True).stdout
            if " version 14." in version:
                return name
    sys.exit("format: clang-format 14 is not installed (scripts/setup test)")


def check(root):
    paths = files(root, CXX, ALL_CODE_FOLDERS)
    if not paths:
        return []
    style = Path(__file__).resolve().parents[2] / ".clang-format"
    done = subprocess.run([formatter(), "--dry-run", f"--style=file:{style}", *paths], cwd=root, capture_output=True, text=True)
    if done.returncode != 0:
        return [Finding(".clang-format", 1, done.stderr.strip())]
    first = {}
    for path, line in re.findall(r"^([^:\n]+):(\d+):\d+: warning: code should be clang-formatted", done.stderr, re.M):
        first.setdefault(path, int(line))
    return [Finding(path, line, f"run {formatter()} -i on it") for path, line in first.items()]


CASES = [
    ("as it should be", {"src/base/a.cc": "int f(int x) { return x; }\n"}, []),
    ("as it should not", {"src/base/a.cc": "// a\nint  f( int x ) { return x; }\n"}, ["src/base/a.cc:2: "]),
]

if __name__ == "__main__":
    main(check, CASES, __doc__)
