#!/usr/bin/env python3
"""Links in the Markdown pages lead somewhere: the file is in the tree, the heading is on the page."""
import os
import re

from tree import Finding, files, main, read

LINK = re.compile(r"!?\[[^\]\n]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)|(?:src|href)=\"([^\"]+)\"")
ELSEWHERE = re.compile(r"^[a-z][a-z0-9+.-]*:", re.I)


def without_code(text):
    def blank(match):
        return re.sub(r"[^\n]", " ", match.group(0))
    return re.sub(r"`[^`\n]*`", blank, re.sub(r"^```.*?^```", blank, text, flags=re.M | re.S))


def anchors(text):
    """GitHub's names of the headings."""
    names = []
    for heading in re.findall(r"^#{1,6}\s+(.*?)\s*#*$", without_code(text) if "```" in text else text, re.M):
        heading = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        names.append(name if name not in names else f"{name}-{names.count(name)}")
    return set(names) | set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", text))


def check(root):
    found = []
    for page in files(root, (".md",)):
        text = without_code(read(root, page))
        for match in LINK.finditer(text):
            link = match.group(1) or match.group(2)
            line = text.count("\n", 0, match.start()) + 1
            if ELSEWHERE.match(link):
                continue
            path, _, anchor = link.partition("#")
            target = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
            if not (root / target).exists():
                found.append(Finding(page, line, f"{link}: no such file"))
            elif anchor and target.endswith(".md") and anchor not in anchors(read(root, target)):
                found.append(Finding(page, line, f"{link}: no such heading"))
    return found


CASES = [
    ("they lead somewhere", {"README.md": "# The `a` page\n[x](src/README.md#a-b) [y](#the-a-page) [z](http://example.org/) `[q](no)`\n",
                             "src/README.md": "# A b\n[up](../README.md)\n```\n[x](nowhere)\n```\n"}, []),
    ("no file", {"README.md": "\n[x](nowhere.md)\n"}, ["README.md:2: "]),
    ("no heading", {"README.md": "# One\n[x](#two)\n"}, ["README.md:2: "]),
    ("no picture", {"perf/README.md": "<img src=\"report/a.svg\">\n"}, ["perf/README.md:1: "]),
]

if __name__ == "__main__":
    main(check, CASES, __doc__)
