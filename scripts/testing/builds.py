"""The builds that tests run in, each configured once with exactly its options, and the programs found in them."""
import collections
import json
import os
import re
import shlex
import shutil
import tempfile
from pathlib import Path

import prebuilt
from outcome import TREE, Outcome, command_case, gtest_outcome, run, scratch_folder, side_by_side

RELEASE = "build"
RELEASE_TARGETS = ["served", "tests/support/apps/life", "tests/support/apps/kept", "tests/support/apps/sieve", "tests/support/apps/worker_v1", "perf/load/floor", "load_past_kernel"]
SIMULATORS = {"sim": "tests/sim/sim", "net_sim": "tests/net_sim/net_sim"}
QUICK_TESTS = SIMULATORS | {f"unit_{name}": f"tests/unit/{name}/unit_{name}" for name in ("base", "route", "ring")}
COMMON = ["-Doptimization=1", "-Ddebug=false", "-Dwerror=true", "-Db_lundef=false", "-Dperf=disabled",
          "-Dcpp_link_args=-fuse-ld=lld-19",  # a third of the time of ld's
          "-Dmimalloc=disabled",  # a sanitizer brings its own allocator
          "-Ddpdk=disabled"]  # its flags name a processor, the precompiled headers none; what runs here stands above it
# Checks of every pointer for null and for the size of what it points to take as long to compile as all others together,
# and AddressSanitizer sees both.
LEAN_UBSAN = ["-fno-sanitize=null,object-size", "-fno-sanitize-recover=all"]


def cpp_args(*more):
    return f"-Dcpp_args={['-gline-tables-only', '-pthread', '-fPIC', *more]}"  # all position-independent: one precompiled header fits


BUILDS = {  # the fuzzers ride along in the first: its sanitizers are theirs
    "build-asan": ["-Db_sanitize=address,undefined", "-Dfuzz=enabled", cpp_args(*LEAN_UBSAN), *COMMON],
    "build-tsan": ["-Db_sanitize=thread", cpp_args(), *COMMON],
}
SANITIZERS = {
    "ASAN_OPTIONS": "detect_stack_use_after_return=1:strict_string_checks=1:abort_on_error=1:disable_coredump=1",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
}
COHERENCE = "tests/coherence/coherence_tests"
PROCESSES = "processes"  # an alias of meson's
UNIT_TIMEOUT_S = 240
SHARDS = {"unit_transport": 3}  # what takes longest runs in so many parts: no core waits for it at the end
FUZZ_SECONDS = 2
FUZZERS = 4  # side by side: half of such a short time goes by at their start and end
WORTH_A_HEADER = 10  # sources that share their options: so many pay for a precompiled header
FUZZ_SEED = 1  # a change is judged by what it changed; long runs by hand take other seeds


def shell(function_and_arguments, compiler):
    env = dict(os.environ) | ({"CXX": compiler} if compiler else {})
    return ["bash", "-c", f'set -e; . "{TREE}/scripts/lib.sh"; "$@"', "lib", *function_and_arguments], env


def build(name, targets=()):
    """Configures and compiles; one case, whose name says what it shows."""
    outcome = Outcome()
    compiler = None if name == RELEASE else prebuilt.compiler(name)
    configure = ["configure_release"] if name == RELEASE else ["configure", name, *BUILDS[name]]
    before = configured_at(name)
    command, env = shell(configure, compiler)
    code, words = run(command, env)
    if code == 0 and compiler:
        if configured_at(name) != before:
            prebuilt.clear(name)
        words = prebuilt.make(name)
        code = 1 if words else 0
    if code != 0:
        outcome.add(f"configure {name}", False, words)
        return outcome
    command, env = shell(["compile", name, *(targets or sanitized_targets(name))], compiler)
    return command_case(f"{name} compiles without a warning", command, env, timeout=1800)


def configured_at(name):
    stamp = TREE / name / ".options"
    return stamp.stat().st_mtime_ns if stamp.exists() else None


def compile_commands(wanted):
    """Those of the release build that are wanted."""
    return [entry for entry in json.loads((TREE / RELEASE / "compile_commands.json").read_text()) if wanted(entry)]


def look_over(commands, what, compiler=None, more=lambda entry: []):
    """They are compiled without making code, by another compiler where one is named; a case for each that fails, and one for all."""
    def one(entry):
        words = [w for w in shlex.split(entry["command"]) if not w.endswith("ccache")]
        words[0] = compiler or words[0]
        words[words.index("-o") + 1] = "/dev/null"
        code, said = run([*words, "-fsyntax-only", *more(entry)], cwd=entry["directory"])
        outcome = Outcome()
        if code != 0:
            outcome.add(entry["file"].removeprefix("../"), False, said)
        return outcome

    outcome = side_by_side([lambda c=c: one(c) for c in commands])
    outcome.add(f"{compiler or prebuilt.GCC} compiles {len(commands)} sources of {what} without a warning", bool(commands) and not outcome.failed)
    return outcome


def check_tests_with_gcc():
    """The sources that no step builds with g++ (most tests, benchmarks) are compiled by it as well."""
    code, words = run(["ninja", "-C", TREE / RELEASE, "-t", "commands", *RELEASE_TARGETS, *SIMULATORS.values(), COHERENCE, PROCESSES])
    built = set(re.findall(r" -o (\S+\.o) ", words))
    commands = compile_commands(lambda c: c["file"].removeprefix("../").startswith(("tests/", "perf/")) and c["output"] not in built)
    fits = collections.Counter(tuple(prebuilt.options(c["command"])) for c in commands)
    headers = {flags: prebuilt.make_gcc(flags) for flags, count in fits.items() if count >= WORTH_A_HEADER}

    def header(entry):
        made = headers.get(tuple(prebuilt.options(entry["command"])))
        return ["-include", made] if made else []
    return look_over(commands, "tests and benchmarks", more=header)


def check_parts_with_clang():
    """What COMMON leaves out of the sanitizer builds, by their compiler; of benchmarks those that speak with DPDK."""
    left_out = ("src/transport/libtransport_dpdk.a.p/", "perf/load/net_load.p/", "penstock.p/")
    return look_over(compile_commands(lambda c: c["output"].startswith(left_out)), "DPDK and the allocator", prebuilt.CLANG,
                     lambda _: ["-Wno-unknown-warning-option"])


def introspect(name, what):
    code, words = run(["meson", "introspect", what, TREE / name])
    if code != 0:
        raise RuntimeError(words)
    return json.loads(words)


def sanitized_targets(name):
    """What runs in a sanitizer build: unit and simulator tests, the programs they start, the fuzzers."""
    made = {target["id"]: target for target in introspect(name, "--targets")}
    wanted = {made_id for test in introspect(name, "--tests") if suites_of(test) & {"unit", "sim"} for made_id in test["depends"]}
    wanted |= {made_id for made_id, target in made.items() if is_fuzzer(target)}
    return sorted(str(Path(path).relative_to(TREE / name)) for made_id in wanted for path in made[made_id]["filename"])


def suites_of(test):
    return {suite.removeprefix("penstock:") for suite in test["suite"]}


def is_fuzzer(target):
    return target["name"].startswith("fuzz_") and target["type"] == "executable"


def without_aslr():
    """Sanitizers cannot always place their shadow on kernels with much address randomisation."""
    prefix = ["setarch", "-R"]
    return prefix if shutil.which("setarch") and run([*prefix, "true"])[0] == 0 else []


def run_tests(name, suites=("unit", "sim"), names=None):
    """Every program of the suites, two at a time; one case per GoogleTest case."""
    prefix = without_aslr()
    tests = [t for t in introspect(name, "--tests") if suites_of(t) & set(suites) and (names is None or t["name"] in names)]
    parts = [(test, part) for test in tests for part in range(SHARDS.get(test["name"], 1))]
    parts.sort(key=lambda one: (-one[0]["timeout"], one[1]))  # what takes long starts first
    where = None if "coherence" in suites else scratch_folder()  # the hostile writer has a disk to write to

    def one(test, part):
        with tempfile.TemporaryDirectory(dir=where) as scratch:
            report = Path(scratch, "report.json")
            env = dict(os.environ) | SANITIZERS | test["env"] | {
                "GTEST_OUTPUT": f"json:{report}", "TMPDIR": scratch, "GTEST_TOTAL_SHARDS": str(SHARDS.get(test["name"], 1)), "GTEST_SHARD_INDEX": str(part)}
            timeout = max(UNIT_TIMEOUT_S, test["timeout"])
            code, words = run([*prefix, *test["cmd"]], env, timeout, cwd=test["workdir"] or TREE)
            return gtest_outcome(f"{name}: {test['name']}", report, code, words)

    outcome = side_by_side([lambda p=p: one(*p) for p in parts])
    if not tests:
        outcome.add(f"{name} has tests", False, "meson knows none in the suites " + ", ".join(suites))
    return outcome


def run_processes():
    """What starts the binary's own processes, and what they must not do in their sandboxes."""
    outcome = build(RELEASE, [PROCESSES])
    return outcome if outcome.failed else outcome.merge(run_tests(RELEASE, suites=("process", "sandbox")))


def run_coherence():
    """The hostile writer against real time; alone on the machine, for it measures how late a change is seen."""
    outcome = build(RELEASE, [COHERENCE])
    return outcome if outcome.failed else outcome.merge(run_tests(RELEASE, suites=("coherence",)))


def run_fuzzers(name="build-asan", seconds=FUZZ_SECONDS):
    """Each fuzzer over its corpus, then on for a few seconds; finds go to a scratch folder."""
    prefix = without_aslr()
    targets = [t for t in introspect(name, "--targets") if is_fuzzer(t)]

    def one(target):
        corpus = TREE / "tests/corpus" / target["name"].removeprefix("fuzz_")
        with tempfile.TemporaryDirectory() as scratch:
            finds = Path(scratch, "finds")
            finds.mkdir()
            command = [*prefix, target["filename"][0], f"-max_total_time={seconds}", f"-seed={FUZZ_SEED}", "-timeout=10", "-rss_limit_mb=2048", "-verbosity=0",
                       "-print_final_stats=1", f"-artifact_prefix={scratch}/", finds, *([corpus] if corpus.is_dir() else [])]
            outcome = command_case(f"{target['name']} finds nothing in {seconds} s", command, dict(os.environ) | SANITIZERS, seconds + 60)
            for crash in Path(scratch).glob("*-*"):
                keep = TREE / name / crash.name
                shutil.copy(crash, keep)
                outcome.cases[0].words += f"\nthe input is kept in {keep.relative_to(TREE)}"
            return outcome

    return side_by_side([lambda t=t: one(t) for t in targets], FUZZERS)
