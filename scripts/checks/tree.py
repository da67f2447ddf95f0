"""What the checks share: the files of a tree, findings, C++ text without comments, self-tests.

A check is a module with `check(root) -> list[Finding]` and `CASES`: small trees, each with the
findings it must give. `main` runs the check on the real tree, or with --self-test on the cases.
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

CODE_FOLDERS = ("src/", "cache/", "pool/")  # what goes into the binary
ALL_CODE_FOLDERS = CODE_FOLDERS + ("tests/", "perf/")
CXX = (".cc", ".h", ".hpp", ".c")


@dataclass(frozen=True, order=True)
class Finding:
    path: str
    line: int
    text: str

    def __str__(self):
        return f"{self.path}:{self.line}: {self.text}"


def files(root, suffixes=("",), folders=("",)):
    """Paths (relative, sorted) of the files git tracks or would track; of all files outside git."""
    root = Path(root)
    if (root / ".git").exists():
        out = subprocess.run(["git", "-C", str(root), "ls-files", "-co", "--exclude-standard", "-z"],
                             check=True, capture_output=True).stdout
        found = [name for name in out.decode().split("\0") if name]
    else:
        found = [str(Path(base, name).relative_to(root)) for base, _, names in os.walk(root) for name in names]
    return sorted(name for name in set(found)
                  if name.endswith(tuple(suffixes)) and name.startswith(tuple(folders)) and (root / name).is_file())


def read(root, path):
    return (Path(root) / path).read_text(encoding="utf-8", errors="replace")


TOKEN = re.compile(
    r'''(?P<raw>R"(?P<tag>[^()\s\\]{0,16})\(.*?\)(?P=tag)")'''
    r'''|(?P<line>//[^\n]*)|(?P<block>/\*.*?\*/)'''
    r'''|(?P<string>"(?:\\.|[^"\\\n])*")'''
    r'''|(?P<char>(?<![0-9A-Za-z_])(?:u8|[uUL])?'(?:\\.|[^'\\\n])+')''', re.DOTALL)


def code_only(text, keep_includes=False):
    """C++ text with comments and literals blanked, line numbers kept."""
    def blank(match):
        if keep_includes and match.lastgroup == "string":
            return match.group(0)
        return re.sub(r"[^\n]", " ", match.group(0))
    return TOKEN.sub(blank, text)


def includes(root, path):
    """(line, spelling) of each include; the spelling keeps its quotes or angle brackets."""
    text = code_only(read(root, path), keep_includes=True)
    for number, line in enumerate(text.splitlines(), 1):
        match = re.match(r'\s*#\s*include\s*(<[^>]+>|"[^"]+")', line)
        if match:
            yield number, match.group(1)


def plant(root, tree):
    for path, text in tree.items():
        target = Path(root, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")


def self_test(check, cases):
    """Each case is (what it shows, {path: text}, [start of each expected finding])."""
    bad = 0
    for what, tree, expected in cases:
        with tempfile.TemporaryDirectory() as root:
            plant(root, tree)
            found = sorted(check(Path(root)))
        ok = len(found) == len(expected) and all(str(f).startswith(e) for f, e in zip(found, sorted(expected)))
        if not ok:
            bad += 1
            print(f"self-test failed: {what}\n  expected {sorted(expected)}\n  found    {[str(f) for f in found]}")
    if not any(expected for _, _, expected in cases):
        print("self-test has no case that must fail")
        bad += 1
    return bad


def main(check, cases, doc):
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--self-test", action="store_true", help="show on planted trees that the check can fail")
    parser.add_argument("root", nargs="?", default=str(Path(__file__).resolve().parents[2]))
    args = parser.parse_args()
    if args.self_test:
        sys.exit(1 if self_test(check, cases) else 0)
    found = sorted(check(Path(args.root)))
    for finding in found:
        print(finding)
    sys.exit(1 if found else 0)
