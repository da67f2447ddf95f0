#!/usr/bin/env python3
"""The build says what the includes say: a folder that includes another's header names its library.

For each folder with a meson.build in src/, cache/ and pool/: every folder it includes must be reachable through
the `*_dep` names in its meson.build, and every such name of ours must be used by an include.
"""
import re
from pathlib import PurePosixPath

from tree import CODE_FOLDERS, CXX, Finding, files, includes, main, read


def meson_text(root, path):
    return re.sub(r"#[^\n]*", "", read(root, path))


def build_folder(path, folders):
    """The nearest folder at or above `path` that has a meson.build, or None."""
    for parent in PurePosixPath(path).parents:
        if str(parent) in folders:
            return str(parent)
    return None


def check(root):
    mesons = [p for p in files(root, ("/meson.build",), CODE_FOLDERS)]
    folders = {str(PurePosixPath(p).parent): p for p in mesons}
    texts = {folder: meson_text(root, path) for folder, path in folders.items()}
    declares = {}  # dep name → folder
    brings = {}    # dep name → names in its declare_dependency
    for folder, text in texts.items():
        for name, body in re.findall(r"^\s*(\w+_dep)\s*=\s*declare_dependency\((.*?)\)\s*$", text, re.M | re.S):
            declares[name] = folder
            brings[name] = set(re.findall(r"\b\w+_dep\b", body))
            for lib in re.findall(r"\b\w+_lib\b", body):  # what the library itself is built with comes along
                made = re.search(r"^\s*" + lib + r"\s*=\s*\w+\((.*?)^\s*(?=\w+\s*=|$)", text, re.M | re.S)
                if made:
                    brings[name] |= set(re.findall(r"\b\w+_dep\b", made.group(1)))

    def closure(names):
        seen, todo = set(), list(names)
        while todo:
            name = todo.pop()
            if name not in seen:
                seen.add(name)
                todo.extend(brings.get(name, ()))
        return seen

    found = []
    named = {folder: set(re.findall(r"\b\w+_dep\b", text)) for folder, text in texts.items()}
    reach = {folder: {declares[n] for n in closure(names) if n in declares} for folder, names in named.items()}
    used = {folder: set() for folder in folders}
    for path in files(root, CXX, CODE_FOLDERS):
        folder = build_folder(path, folders)
        if path == "src/main.cc":  # the tree's own meson.build makes the binary of it
            continue
        if folder is None:
            found.append(Finding(path, 1, "no meson.build builds this file's folder"))
            continue
        for line, spelling in includes(root, path):
            target = build_folder(spelling[1:-1], folders) if spelling[1:-1].startswith(CODE_FOLDERS) else None
            if target is None or target == folder:
                continue
            used[folder].add(target)
            if target not in reach[folder]:
                found.append(Finding(path, line, f"includes {spelling[1:-1]}, but {folders[folder]} names no library of {target}"))
    for folder, names in named.items():
        for name in names:
            home = declares.get(name)
            if home and home != folder and home != "src/base" and home not in used[folder]:
                found.append(Finding(folders[folder], 1, f"names {name}, but nothing here includes {home}"))
    return found


BASE = {"src/base/meson.build": "base_lib = static_library('base', 'b.cc')\nbase_dep = declare_dependency(link_with: base_lib)\n",
        "src/base/b.cc": ""}
HTTP = {"src/http/meson.build": "http_lib = static_library('http', 'h.cc', dependencies: [base_dep])\n"
                                "http_dep = declare_dependency(link_with: http_lib, dependencies: [base_dep])\n",
        "src/http/h.h": '#include "src/base/b.h"\n'}
CASES = [
    ("named and used", BASE | HTTP, []),
    ("reached through another", BASE | HTTP | {
        "src/server/meson.build": "server_dep = declare_dependency(dependencies: [http_dep])\n",
        "src/server/s.cc": '#include "src/http/h.h"\n#include "src/base/b.h"\n'}, []),
    ("included, not named", BASE | HTTP | {
        "src/server/meson.build": "server_dep = declare_dependency(dependencies: [base_dep])\n",
        "src/server/s.cc": '#include "src/http/h.h"\n'}, ["src/server/s.cc:1: "]),
    ("named, not included", BASE | HTTP | {
        "src/server/meson.build": "server_dep = declare_dependency(dependencies: [base_dep, http_dep])\n",
        "src/server/s.cc": '#include "src/base/b.h"\n'}, ["src/server/meson.build:1: "]),
    ("a name in a comment does not count", BASE | HTTP | {
        "src/server/meson.build": "server_dep = declare_dependency(dependencies: [base_dep]) # http_dep\n",
        "src/server/s.cc": '#include "src/http/h.h"\n'}, ["src/server/s.cc:1: "]),
]

if __name__ == "__main__":
    main(check, CASES, __doc__)
