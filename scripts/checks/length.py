#!/usr/bin/env python3
"""No source file is longer than 500 lines (STYLE: size and shape). Tables (.def) are data and do not count."""
from tree import CXX, Finding, files, main, read

LINES_MAX = 500


def check(root):
    found = []
    for path in files(root, CXX + (".py", ".sh", "meson.build")) + [p for p in files(root, ("",), ("scripts/", ".ci/")) if "." not in p.rsplit("/", 1)[-1]]:
        count = read(root, path).count("\n")
        if count > LINES_MAX:
            found.append(Finding(path, LINES_MAX + 1, f"{count} lines; {LINES_MAX} is the limit: find the second thing this file is about"))
    return found


CASES = [
    ("at the limit", {"src/a.cc": "\n" * 500, "src/a.def": "\n" * 900}, []),
    ("over the limit", {"src/a.cc": "\n" * 501, "scripts/serve": "\n" * 501}, ["src/a.cc:501: ", "scripts/serve:501: "]),
]

if __name__ == "__main__":
    main(check, CASES, __doc__)
