#!/usr/bin/env python3
"""Code that parses foreign bytes has a fuzzer beside it, the build knows the fuzzer, and the fuzzer has a corpus.

`x.cc` that is named *parse* or defines a function `parse_…` needs `x_fuzz.cc` in its folder, or a line
`// Fuzzed by FOLDER/y_fuzz.cc` where it is exercised through another's fuzzer.
`x_fuzz.cc` needs a target `fuzz_x` in its folder's meson.build and files in tests/corpus/x/.
"""
import re
from pathlib import Path

from tree import CODE_FOLDERS, Finding, code_only, files, main, read

DEFINES_PARSER = re.compile(r"^[\w:<>,&*\[\] ]+\bparse_\w+\s*\([^;{]*\{", re.M)


def parser_line(path, code):
    """The line that makes this file a parser, or None."""
    if "pars" in Path(path).name:
        return 1
    match = DEFINES_PARSER.search(code)
    return None if match is None else code.count("\n", 0, match.start()) + 1


def judge_parser(root, path):
    text = read(root, path)
    line = parser_line(path, code_only(text))
    if line is None or (root / path.replace(".cc", "_fuzz.cc")).is_file():
        return []
    named = re.search(r"^// Fuzzed by (\S+_fuzz\.cc)", text, re.M)
    if named is None:
        return [Finding(path, line, f"parses, but has neither {Path(path).stem}_fuzz.cc beside it nor a line `// Fuzzed by …_fuzz.cc`")]
    if not (root / named[1]).is_file():
        return [Finding(path, line, f"says it is fuzzed by {named[1]}, which does not exist")]
    return []


def judge_fuzzer(root, path):
    name = Path(path).stem.removesuffix("_fuzz")
    meson = root / Path(path).parent / "meson.build"
    found = []
    text = meson.read_text() if meson.is_file() else ""
    by_list = "'fuzz_' + name" in text and f"'{name}'" in text  # foreach over names
    if f"fuzz_{name}" not in text and not by_list:
        found.append(Finding(path, 1, f"no target fuzz_{name} in {Path(path).parent}/meson.build"))
    corpus = root / "tests/corpus" / name
    if not corpus.is_dir() or not any(corpus.iterdir()):
        found.append(Finding(path, 1, f"no seeds in tests/corpus/{name}/"))
    return found


def check(root):
    found = []
    for path in files(root, (".cc",), CODE_FOLDERS):
        found += judge_fuzzer(root, path) if path.endswith("_fuzz.cc") else judge_parser(root, path)
    return found


GOOD = {"src/http/target.cc": "Result<int> parse_target(std::string_view text) {\n}\n", "src/http/target_fuzz.cc": "",
        "src/http/meson.build": "executable('fuzz_target', 'target_fuzz.cc')\n", "tests/corpus/target/1": "x"}
CASES = [
    ("all there", GOOD, []),
    ("a call is no parser", {"src/http/a.cc": "void f() {\n  parse_target(x);\n  if (parse_target(y)) {\n  }\n}\n"}, []),
    ("no fuzzer", {"src/http/target.cc": "\n" + GOOD["src/http/target.cc"]}, ["src/http/target.cc:2: "]),
    ("a parser by its name", {"src/http/request_parser.cc": "void f() {}\n"}, ["src/http/request_parser.cc:1: "]),
    ("by a list", GOOD | {"src/http/meson.build": "foreach name : ['target']\n  executable('fuzz_' + name)\n"}, []),
    ("fuzzed by another", GOOD | {"src/http/b.cc": "// Fuzzed by src/http/target_fuzz.cc\nint parse_b(int x) { }\n"}, []),
    ("fuzzed by nobody", GOOD | {"src/http/b.cc": "// Fuzzed by src/http/c_fuzz.cc\nint parse_b(int x) { }\n"}, ["src/http/b.cc:2: "]),
    ("no target, no corpus", {"src/http/target_fuzz.cc": "", "src/http/meson.build": ""},
     ["src/http/target_fuzz.cc:1: no seeds", "src/http/target_fuzz.cc:1: no target"]),
]

if __name__ == "__main__":
    main(check, CASES, __doc__)
