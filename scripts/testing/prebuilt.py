"""Precompiled headers. For a clang build they halve its time, and clang_prebuilt is the compiler that uses them; for g++'s look
over the tests they take two thirds of it."""
import hashlib
import json
import shlex
import shutil

from outcome import TREE, run

HEADER = TREE / "scripts/testing/prebuilt.h"
CLANG = "clang++-19"
GCC = "g++"
WITH_VALUE = ("-o", "-MF", "-MQ", "-MT", "-I", "-isystem")
NO_MATTER = ("-c", "-MD", "-MMD")


def folder(build):
    return TREE / "build-prebuilt" / build


def compiler(build):
    """What CXX is for this build."""
    return f"{TREE / 'scripts/testing/clang_prebuilt'} {folder(build)}"


def clear(build):
    shutil.rmtree(folder(build), ignore_errors=True)


def options(command):
    """What of a compile command has a say in whether a precompiled header fits."""
    kept, skip = [], False
    for word in shlex.split(command):
        if skip:
            skip = False
        elif word in WITH_VALUE:
            skip = True
        elif word.startswith("-") and word not in NO_MATTER and not word.startswith(("-I", "-DPENSTOCK")):
            kept.append(word)
    return kept


def make(build):
    """Makes what is missing or no longer fits what is installed. Gives an error text, or None."""
    commands = [entry["command"] for entry in json.loads((TREE / build / "compile_commands.json").read_text())]
    command = next(c for c in commands if "-fsanitize=fuzzer " not in c)
    copy = folder(build) / HEADER.name
    if not copy.exists() or copy.read_bytes() != HEADER.read_bytes():
        clear(build)
        folder(build).mkdir(parents=True)
        shutil.copyfile(HEADER, copy)
    return make_pair(copy, options(command))


def make_pair(copy, flags):
    """One header as meson's command has it, one without optimisation; see clang_prebuilt."""
    for made, flags in ((copy.with_name("optimised.pch"), flags),
                        (copy.with_name("unoptimised.pch"), ["-O0" if flag == "-O1" else flag for flag in flags])):
        if made.exists() and run([CLANG, *flags, "-fsyntax-only", "-include-pch", made, "-x", "c++", "/dev/null"])[0] == 0:
            continue
        code, words = run([CLANG, *flags, "-Xclang", "-fno-pch-timestamp", "-fpch-instantiate-templates", "-x", "c++-header", copy, "-o", made.with_suffix(".new")])
        if code != 0:
            return words
        made.with_suffix(".new").rename(made)
    return None


def make_gcc(flags):
    """The header that fits code compiled with these options: a file to name with -include. None where it cannot be made."""
    name = hashlib.sha256(" ".join(flags).encode()).hexdigest()[:16]
    copy = folder("gcc") / name / HEADER.name
    made = copy.with_name(f"{HEADER.name}.gch")
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(HEADER, copy)
    code, _ = run([GCC, *flags, "-x", "c++-header", copy, "-o", made])
    return copy if code == 0 else None
