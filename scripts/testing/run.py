#!/usr/bin/env python3
"""scripts/test: every check, build, unit test, sanitizer run, fuzzer and end-to-end test of penstock.

One line a step; the words of what failed; last line `N passed, N failed`.
"""
import argparse
import os
import sys
import tempfile
import time
import xml.etree.ElementTree
from pathlib import Path

import builds
from outcome import TREE, Outcome, command_case, run, scratch_folder, side_by_side, tail
from rows import Rows, Step, cpu_seconds

E2E = TREE / "tests/e2e"
E2E_TIMEOUT_S = 600
E2E_WORKERS = 4  # files side by side: most of their time they wait
E2E_FIRST = ("limits", "coherence", "tls", "alarms", "log_full", "conditional", "cache", "pools_life", "http2")  # the long ones: none is waited for alone


def check_step(path):
    name = path.stem.replace("_", "-")

    def body():
        return side_by_side([lambda: command_case(f"{name} can fail", [sys.executable, path, "--self-test"]),
                             lambda: command_case(f"{name} holds", [sys.executable, path])])
    return Step(name, "check", body, quick=True, behind=name != "headers")  # that one keeps all cores busy


def e2e_file(path, env, which="not alone"):
    """One file of the end-to-end suite, or those of its tests that a pytest marker expression names: a case per test."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch, "report.xml")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", which, f"--junitxml={report}", path]
        code, words = run(command, env, E2E_TIMEOUT_S)
        outcome = Outcome()
        if report.is_file():
            for case in xml.etree.ElementTree.parse(report).iter("testcase"):
                name = f"e2e: {case.get('classname')}.{case.get('name')}"
                broken = [part for part in case if part.tag in ("failure", "error")]
                if case.find("skipped") is not None:
                    outcome.skipped += 1
                else:
                    outcome.add(name, not broken, "\n".join(tail(part.text or "") for part in broken))
        if code != 0 and not outcome.failed:
            outcome.add(f"e2e: {path.name}", False, tail(words) + f"\nexit code {code}")
        return outcome


def e2e_files(paths, env):
    """One file after the other."""
    outcome = Outcome()
    for path in paths:
        outcome.merge(e2e_file(path, env))
    return outcome


def e2e_env(quick):
    where = scratch_folder()
    return dict(os.environ) | ({"PENSTOCK_TEST_QUICK": "1"} if quick else {}) | ({"TMPDIR": where} if where else {})


def e2e(quick):
    first = [E2E / f"test_{name}.py" for name in E2E_FIRST]
    polling = sorted(E2E.glob("test_dpdk*.py"))  # such a server takes a core for itself: one at a time
    rest = sorted(set(E2E.glob("test_*.py")) - set(first) - set(polling))
    rows = [polling, *([path] for path in first + rest)]
    return side_by_side([lambda r=row: e2e_files(r, e2e_env(quick)) for row in rows], E2E_WORKERS)


def steps(quick):
    """In the order of their rows. What measures time has nothing beside it but builds, which give way at once."""
    ready = builds.QUICK_TESTS if quick else builds.SIMULATORS
    checks = [check_step(path) for path in sorted((TREE / "scripts/checks").glob("*.py")) if path.name != "tree.py"]
    return checks + [
        Step("release", "g++ release build", lambda: builds.build(builds.RELEASE, builds.RELEASE_TARGETS), quick=True),
        Step("quick-build", "g++ release build of the quick tests",
             lambda: builds.build(builds.RELEASE, ready.values()), quick=True, needs=("release",)),
        Step("quick-tests", "simulators with all seeds, release", lambda: builds.run_tests(builds.RELEASE, names=ready), quick=True, needs=("quick-build",)),
        Step("processes", "real processes in their sandboxes", builds.run_processes, needs=("release",)),
        Step("asan-build", "clang-19 with ASan, UBSan, fuzzers", lambda: builds.build("build-asan"), behind=True),
        Step("tsan-build", "clang-19 with TSan", lambda: builds.build("build-tsan"), behind=True),
        Step("gcc-tests", "g++ over tests and benchmarks", builds.check_tests_with_gcc, needs=("release",), behind=True),
        Step("clang-parts", "clang-19 over DPDK and the rest", builds.check_parts_with_clang, needs=("release",), behind=True),
        Step("e2e", "the real binary, end to end", lambda: e2e(quick), needs=("release",)),
        Step("e2e-timed", "what measures a promised time", lambda: e2e_file(E2E, e2e_env(quick), "alone"), needs=("release",)),
        Step("coherence", "30 s of a hostile writer", builds.run_coherence, needs=("release",)),
        Step("unit", "unit and simulator tests, ASan", lambda: builds.run_tests("build-asan"), needs=("asan-build",)),
        Step("fuzz", "each fuzzer for a few seconds", builds.run_fuzzers, needs=("asan-build",)),
        Step("tsan", "unit and simulator tests, TSan", lambda: builds.run_tests("build-tsan"), needs=("tsan-build",)),
    ]


def chosen(everything, quick, only):
    """The steps to run, in order, with what they need."""
    if not only:
        return [step for step in everything if step.quick or not quick]
    by_name = {step.name: step for step in everything}
    wanted, todo = set(), list(only)
    while todo:
        name = todo.pop()
        if name not in by_name:
            sys.exit(f"no step '{name}': {' '.join(by_name)}")
        wanted.add(name)
        todo += by_name[name].needs
    return [step for step in everything if step.name in wanted]


def main():
    parser = argparse.ArgumentParser(prog="scripts/test", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="no sanitizer or fuzzer builds, short end-to-end runs")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this step (and what it needs); may be repeated")
    parser.add_argument("--list", action="store_true", help="print the steps' names and leave")
    args = parser.parse_args()
    everything = steps(args.quick)
    if args.list:
        for step in everything:
            print(f"{step.name:<14} {step.what}")
        return
    start = time.monotonic()
    total = Outcome()
    for outcome in Rows(chosen(everything, args.quick, args.only)).run():
        total.merge(outcome)
    if total.failed:
        print("failed:", *(f"  {case.name}" for case in total.failed), sep="\n")
    print(f"{time.monotonic() - start:.0f} s, of processor time {cpu_seconds():.0f} s")
    print(f"{total.passed} passed, {len(total.failed)} failed")
    sys.exit(1 if total.failed or not total.cases else 0)


if __name__ == "__main__":
    main()
