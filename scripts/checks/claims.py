#!/usr/bin/env python3
"""What a table of tests/claims/ names is there: the test, the benchmark's report, the program.

Each row says in its last cell, in backticks, what fails where the claim is false: `test_x.py::test_name` (in tests/),
`Suite.Case` or `Suite.*` (GoogleTest), or a path from the root of the tree. What follows "Not yet:" says what is missing.
"""
import re
from pathlib import Path

from tree import Finding, files, main, read

PYTEST = re.compile(r"(\w+\.py)::(\w+)(?:\[.*\])?")
GTEST = re.compile(r"([A-Za-z]\w*)\.([A-Za-z]\w*|\*)")
DEFINED = re.compile(r"^TEST(?:_F|_P)?\(\s*(\w+)\s*,\s*(\w+)\s*\)", re.M)


def tests_of(root):
    """All that a row may name beside paths: `file.py::name`, `Suite.Case`, `Suite.*`."""
    names = set()
    for path in files(root, (".py",), ("tests/",)):
        names |= {f"{Path(path).name}::{name}" for name in re.findall(r"^(?:    )?(?:async )?def (test_\w+)", read(root, path), re.M)}
    for path in files(root, (".cc",), ("tests/",)):
        for suite, case in DEFINED.findall(read(root, path)):
            names |= {f"{suite}.{case}", f"{suite}.*"}
    return names


def judge(root, cell, tests):
    """What is wrong with the last cell of a row."""
    shown, later, missing = cell.partition("Not yet:")
    if later and not missing.strip():
        return ["\"Not yet:\" does not say what is missing"]
    names = re.findall(r"`([^`]+)`", shown)
    if not names and not later:
        return ["names nothing that shows it"]
    wrong = []
    for name in names:
        if match := PYTEST.fullmatch(name):
            there = f"{match[1]}::{match[2]}" in tests
        elif "/" in name:
            there = (root / name).exists()
        else:
            there = GTEST.fullmatch(name) is not None and name in tests
        if not there:
            wrong.append(f"{name}: no such test, nor a file from the root of the tree")
    return wrong


def check(root):
    found, tests = [], tests_of(root)
    for page in files(root, (".md",), ("tests/claims/",)):
        for number, line in enumerate(read(root, page).splitlines(), 1):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]] if line.startswith("|") else []
            if not cells or cells[-1] == "shown by" or not cells[-1].strip("-: "):
                continue
            found += [Finding(page, number, wrong) for wrong in judge(root, cells[-1], tests)]
    return found


PAGE = "tests/claims/a.md"
THERE = {"tests/e2e/test_a.py": "def test_one():\n    pass\n", "tests/unit/a_test.cc": "TEST_F(A, b_c) {\n}\n", "perf/report/a.md": ""}


def table(row):
    return THERE | {PAGE: f"# A\n| claim | shown by |\n|---|---|\n{row}\n"}


CASES = [
    ("all are there", table("| x \\| y | `test_a.py::test_one`, `test_a.py::test_one[1]`, `A.b_c`, `A.*`, `perf/report/a.md` |"), []),
    ("what is missing is said", table("| x | `A.b_c`; Not yet: `y` |\n| z | Not yet: all of it |"), []),
    ("nothing named", table("| x | trust us |"), [PAGE + ":4: "]),
    ("no such tests", table("| x | `test_a.py::test_two`, `A.c`, `B.*`, `perf/report/b.md` |"), [PAGE + ":4: "] * 4),
    ("missing, but what?", table("| x | Not yet: |"), [PAGE + ":4: "]),
]

if __name__ == "__main__":
    main(check, CASES, __doc__)
