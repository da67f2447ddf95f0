#!/usr/bin/env python3
"""scripts/test: every check, build, unit test, sanitizer run, fuzzer and end-to-end test of penstock.

One line a step; the words of what failed; last line `N passed, N failed`.
"""
import argparse
import os
import resource
import sys
import tempfile
import time
import xml.etree.ElementTree
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import builds
from outcome import TREE, Outcome, command_case, run, side_by_side, tail

E2E = TREE / "tests/e2e"
E2E_TIMEOUT_S = 600
E2E_WORKERS = 4  # files side by side: most of their time they wait
E2E_FIRST = ("limits", "coherence", "tls", "alarms", "log_full", "conditional", "cache", "pools_life", "http2")  # the long ones: none is waited for alone


@dataclass(frozen=True)
class Step:
    name: str
    what: str
    body: Callable[[], Outcome]
    quick: bool = False
    needs: tuple[str, ...] = ()
    beside: str = ""  # the name of a step before it that mostly waits: this one runs meanwhile, in time that nobody wants


def check_step(path):
    name = path.stem.replace("_", "-")

    def body():
        return side_by_side([lambda: command_case(f"{name} can fail", [sys.executable, path, "--self-test"]),
                             lambda: command_case(f"{name} holds", [sys.executable, path])])
    return Step(name, "check", body, quick=True)


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


def e2e_env(quick):
    return dict(os.environ) | ({"PENSTOCK_TEST_QUICK": "1"} if quick else {})


def e2e(quick):
    first = [E2E / f"test_{name}.py" for name in E2E_FIRST]
    rest = sorted(set(E2E.glob("test_*.py")) - set(first))
    return side_by_side([lambda p=path: e2e_file(p, e2e_env(quick)) for path in first + rest], E2E_WORKERS)


def steps(quick):
    checks = [check_step(path) for path in sorted((TREE / "scripts/checks").glob("*.py")) if path.name != "tree.py"]
    return checks + [
        Step("release", "g++ release build", lambda: builds.build(builds.RELEASE, builds.RELEASE_TARGETS), quick=True),
        Step("quick-build", "g++ release build of the quick tests",
             lambda: builds.build(builds.RELEASE, builds.QUICK_TESTS.values()), quick=True, needs=("release",)),
        Step("quick-tests", "simulators and ground floor, release",
             lambda: builds.run_tests(builds.RELEASE, names=builds.QUICK_TESTS), quick=True, needs=("quick-build",)),
        Step("processes", "real processes in their sandboxes", builds.run_processes, needs=("release",)),
        Step("coherence", "30 s of a hostile writer", builds.run_coherence, needs=("release",)),
        Step("e2e", "the real binary, end to end", lambda: e2e(quick), needs=("release",)),
        Step("gcc-tests", "g++ over tests and benchmarks", builds.check_tests_with_gcc, needs=("release",), beside="e2e"),
        Step("clang-parts", "clang-19 over DPDK and the rest", builds.check_parts_with_clang, needs=("release",), beside="e2e"),
        Step("asan-build", "clang-19 with ASan, UBSan, fuzzers", lambda: builds.build("build-asan"), beside="e2e"),
        Step("tsan-build", "clang-19 with TSan", lambda: builds.build("build-tsan"), beside="e2e"),
        Step("e2e-alone", "what measures a promised time", lambda: e2e_file(E2E, e2e_env(quick), "alone"), needs=("release",)),
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


def in_turns(chosen):
    """Lists of steps: those of one list run side by side, the first in one row and the rest in another."""
    turns = []
    for step in chosen:
        if turns and step.beside == turns[-1][0].name:
            turns[-1].append(step)
        else:
            turns.append([step])
    return turns


def run_turn(steps, broken):
    """The outcomes of steps that run side by side; only the first has the priority of what is waited for."""
    def beside():
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))  # of this thread and of what it starts
        return [run_step(step, broken, alone=False) for step in steps[1:]]

    with ThreadPoolExecutor(max_workers=1) as pool:
        rest = pool.submit(beside)
        return [run_step(steps[0], broken, alone=len(steps) == 1), *rest.result()]


def cpu_seconds():
    """Of all commands that have ended: says what a step costs whatever else runs on the machine."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run_step(step, broken, alone=True):
    """Runs one step and prints its line, with its CPU time if nothing runs beside it; `broken` are the names of those that failed."""
    if sys.stdout.isatty():
        print(f"…    {step.name:<14} {step.what}", end="\r", flush=True)
    start, cpu = time.monotonic(), cpu_seconds()
    outcome = Outcome()
    stopped_by = [name for name in step.needs if name in broken]
    if stopped_by:
        outcome.add(step.name, False, f"not run: {', '.join(stopped_by)} failed")
    else:
        try:
            outcome = step.body()
        except Exception as error:  # a step that cannot run is a failed test, not the end of the others
            outcome.add(step.name, False, f"{type(error).__name__}: {error}")
    if outcome.failed:
        broken.add(step.name)
    skipped = f", {outcome.skipped} skipped" if outcome.skipped else ""
    used = f"{cpu_seconds() - cpu:7.1f} s of CPU" if alone else " " * 16
    print(f"{'FAIL' if outcome.failed else 'ok  '} {step.name:<14} {step.what:<32} {time.monotonic() - start:6.1f} s {used}  "
          f"{outcome.passed} passed, {len(outcome.failed)} failed{skipped}", flush=True)
    for case in outcome.failed:
        print(f"  --- {case.name}\n" + "\n".join("      " + line for line in case.words.strip().splitlines()), flush=True)
    return outcome


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
    total, broken = Outcome(), set()
    for turn in in_turns(chosen(everything, args.quick, args.only)):
        for outcome in run_turn(turn, broken):
            total.merge(outcome)
    if total.failed:
        print("failed:", *(f"  {case.name}" for case in total.failed), sep="\n")
    print(f"{time.monotonic() - start:.0f} s")
    print(f"{total.passed} passed, {len(total.failed)} failed")
    sys.exit(1 if total.failed or not total.cases else 0)


if __name__ == "__main__":
    main()
