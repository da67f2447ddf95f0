#!/usr/bin/env python3
"""Sources of a folder can be compiled as one, and mean the same: scripts/lib.sh says why they are.

What a source keeps for itself (in an anonymous namespace, static, a macro, a `using` outside functions) has a name that no
other source of its folder uses and that no header which they see declares around it. And since one source's includes would
serve the next, each sees by its own what it names of the project's headers.
A program of its own (a fuzzer, a benchmark, what has a main) stands alone.
"""
import re
from collections import defaultdict, namedtuple
from pathlib import Path

from tree import ALL_CODE_FOLDERS, Finding, code_only, files, includes, main, read

WORD = re.compile(r"[A-Za-z_]\w*$")
TOKEN = re.compile(r"[A-Za-z_]\w*|::|->|#(?:[^\n\\]|\\.)*(?:\\\n(?:[^\n\\]|\\.)*)*|\d[\w'.]*|\n|[^\s]")
NO_NAMES = set("""if for while switch return sizeof alignof decltype noexcept static_assert operator catch case new delete throw alignas requires
    else do const constexpr static inline auto void bool int unsigned char struct class enum union using namespace template typename extern
    typedef consteval constinit default public private protected virtual override final explicit mutable volatile thread_local this true false
    nullptr concept long short double float signed friend goto break continue try __attribute__ maybe_unused nodiscard noreturn gnu
    TEST TEST_F TEST_P INSTANTIATE_TEST_SUITE_P TYPED_TEST TYPED_TEST_SUITE BENCHMARK BENCHMARK_DEFINE_F BENCHMARK_REGISTER_F BENCHMARK_MAIN""".split())
OWN_TYPE = re.compile(r"\b(?:struct|class|enum|using|typename) (?:class )?(?:alignas\(\w+\) )?(\w+)")  # nested ones, too
SHORT = 2  # template parameters and the like

# kind: 'function', 'alias' (text: what it stands for), 'scope' (a using namespace), 'macro' or 'thing'. private: no other source is to see it.
Name = namedtuple("Name", "name kind private line space text")


def tokens(text):
    """(line, token), comments and literals left out; a preprocessor line is one token."""
    line, found = 1, []
    for match in TOKEN.finditer(code_only(text)):
        if match[0] == "\n":
            line += 1
            continue
        found.append((line, match[0]))
        line += match[0].count("\n")
    return found


def skip_template(words):
    """A declaration without its template heads and requires clauses' brackets."""
    while words[:2] == ["template", "<"]:
        depth = 0
        for at, word in enumerate(words[1:], 1):
            depth += (word == "<") - (word == ">")
            if depth == 0:
                words = words[at + 1:]
                break
        else:
            return []
    return words


def declared(words, line, space, anonymous):
    """The name that a declaration at namespace scope brings, as a list of none or one."""
    words = skip_template(words)
    if len(words) < 2:
        return []
    if words[0] == "using":
        rest = "".join(words[1:])
        if words[1] == "namespace":
            return [Name(rest.removeprefix("namespace"), "scope", True, line, space, rest)]
        if words[1] == "enum":
            return []  # what clashes with an enumerator does not compile
        name = words[1] if "=" in words else words[-1]
        return [Name(name, "alias", True, line, space, rest)]
    private = anonymous or "static" in words[:3]
    if words[0] in ("struct", "class", "union", "enum"):
        names = [w for w in words[1:] if WORD.match(w) and w not in NO_NAMES]
        return [Name(names[0], "thing", private, line, space, "")] if names and "(" not in words[:words.index(names[0])] else []
    if words[0] in ("concept", "typedef", "friend", "extern"):
        return [Name(words[1], "thing", private, line, space, "")] if words[0] == "concept" else []
    if "operator" in words:
        return []
    depth = 0
    for at, word in enumerate(words):
        depth += (word in "<[") - (word in ">]")
        if at and depth == (word == "[") and word in ("(", "=", "{", "[") and WORD.match(words[at - 1]) and words[at - 1] not in NO_NAMES:
            if at > 1 and words[at - 2] == "::":
                return []  # defines what a header declares
            return [Name(words[at - 1], "function" if word == "(" else "thing", private, line, space, "")]
    return [Name(words[-1], "thing", private, line, space, "")] if WORD.match(words[-1]) and words[-1] not in NO_NAMES else []


def names_of(text):
    """What a file declares at namespace scope."""
    found, scopes, words, begun, macros = [], [], [], 1, {}
    items = tokens(text)
    for at, (line, word) in enumerate(items):
        if word.startswith("#"):
            define = re.match(r"#\s*(define|undef)\s+(\w+)", word)
            if define and define[1] == "define":
                macros[define[2]] = line
            elif define:
                macros.pop(define[2], None)
            continue
        outside = all(scope is not None for scope in scopes)
        space, anonymous = "::".join(s for s in scopes if s), "" in scopes
        if word == "{":
            opens = words[1:] if words[:1] == ["inline"] else words
            if outside and opens[:1] == ["namespace"]:
                scopes.append("".join(opens[1:]))
                words = []
            elif outside and words == ["extern"]:
                scopes.append("extern-C")
                words = []
            else:
                if outside:
                    words.append(word)
                scopes.append(None)
        elif word == "}":
            ended = scopes.pop() if scopes else ""
            if ended is not None:
                words = []
            elif all(scope is not None for scope in scopes):
                following = items[at + 1][1] if at + 1 < len(items) else ""
                head = skip_template(words)
                if following != ";" and "(" in words and head[:1] not in (["struct"], ["class"], ["union"], ["enum"]) and following not in (",", "{", ")", "("):
                    found += declared(words, begun, "::".join(s for s in scopes if s), "" in scopes)
                    words = []
        elif outside and word == ";":
            found += declared(words, begun, space, anonymous)
            words = []
        elif outside:
            if not words:
                begun = line
            words.append(word)
    spoken = [n for n in found if len(n.name) > SHORT]
    return spoken + [Name(name, "macro", True, line, "", "") for name, line in macros.items()]


def used_in(text):
    """Names that stand by themselves, each with its first line: types and constants anywhere, what begins small where it is called."""
    found, items = {}, tokens(text)
    for at, (line, word) in enumerate(items):
        if word.startswith("#") or not WORD.match(word) or word in NO_NAMES or (at and items[at - 1][1] in (".", "->", "::")):
            continue
        if word[0].isupper() or (at + 1 < len(items) and items[at + 1][1] == "("):
            found.setdefault(word, line)
    return found


def around(outer, inner):
    return outer == "" or inner == outer or inner.startswith(outer + "::")


class Sources:
    """The tree's files, each read once."""

    def __init__(self, root):
        self.root = root
        paths = files(root, (".cc", ".h", ".def"), ALL_CODE_FOLDERS)
        self.text = {path: read(root, path) for path in paths}
        self.used = {path: used_in(self.text[path]) for path in paths if not path.endswith(".def")}
        self.included = {path: [s[1:-1] for _, s in includes(root, path) if s[1:-1] in self.text] for path in paths}
        self.seen = {}
        self.names = {path: [n for n in names_of(text) if n.kind != "macro" or not self.undone(path, n.name)]
                      for path, text in self.text.items() if not path.endswith(".def")}

    def undone(self, path, macro):
        """Whether a table that the file includes ends what the macro makes of its rows."""
        return any(re.search(rf"^#undef {macro}$", self.text[name], re.M) for name in self.included[path] if name.endswith(".def"))

    def sees(self, path):
        """The headers of the project that a file includes, and those they include."""
        if path not in self.seen:
            found, todo = set(), [path]
            while todo:
                for name in self.included[todo.pop()]:
                    if name not in found:
                        found.add(name)
                        todo.append(name)
            self.seen[path] = found
        return self.seen[path]

    def folders(self):
        """Lists of the sources that may be compiled as one."""
        found = defaultdict(list)
        for path in self.used:
            if path.endswith(".h"):
                continue
            alone = path.endswith(("_fuzz.cc", "_bench.cc")) or re.search(r"^int main\(", self.text[path], re.M)
            if not alone:
                found[str(Path(path).parent)].append(path)
        return found.values()


def same(name, others):
    """Whether another source says just the same by it."""
    return name.kind in ("alias", "scope") and any(o.kind == name.kind and o.text == name.text for o in others)


def judge_folder(tree, paths):
    headers = set().union(*(tree.sees(path) for path in paths))
    public = defaultdict(list)
    for header in headers:
        for name in tree.names.get(header, []):
            public[name.name].append((header, name))
    by_name = {path: defaultdict(list) for path in paths}
    for path in paths:
        for name in tree.names[path]:
            by_name[path][name.name].append(name)
    for path in paths:
        for name in {n.name: n for n in tree.names[path] if n.private}.values():
            if name.kind == "scope":
                lacking = next((p for p in paths if not same(name, by_name[p][name.name])), None)
                if lacking and "literals" not in name.name:
                    yield Finding(path, name.line, f"using namespace {name.name} would hold in {lacking}, too")
                continue
            for other in paths:
                line = tree.used[other].get(name.name) or next((n.line for n in by_name[other][name.name]), None)
                if other != path and line and not same(name, by_name[other][name.name]):
                    yield Finding(path, name.line, f"{name.name} stands in {other}:{line}, too")
                    break
            for header, outer in public[name.name]:
                if around(outer.space, name.space) and not (name.kind == "alias" and outer.kind in ("alias", "thing")):
                    yield Finding(path, name.line, f"{name.name} is what {header}:{outer.line} declares")
                    break


def judge_includes(tree, homes, path):
    """Types that a file names of a header that it does not include."""
    own = {name.name for name in tree.names[path]} | set(OWN_TYPE.findall(tree.text[path]))
    for name, line in sorted(tree.used[path].items()):
        where = homes.get(name, ())
        if not name[0].isupper() or name.isupper() or len(where) != 1 or name in own:
            continue
        if not where & tree.sees(path) and not any(name in tree.text[seen] for seen in tree.sees(path)):
            yield Finding(path, line, f"names {name} and does not include {min(where)}")


def check(root):
    tree = Sources(root)
    homes = defaultdict(set)
    for path, names in tree.names.items():
        if path.endswith(".h"):
            for name in names:
                homes[name.name].add(path)
    found = [finding for paths in tree.folders() for finding in judge_folder(tree, paths)]
    return found + [finding for path in tree.used for finding in judge_includes(tree, homes, path)]


def in_space(text):
    return f"namespace penstock {{\nnamespace {{\n{text}\n}}\n}}\n"


ONE = "src/base/a.cc"
TWO = "src/base/b.cc"
CASES = [
    ("names of their own", {ONE: in_space("int first() { return 1; }"), TWO: in_space("int second() { return 2; }")}, []),
    ("a function twice", {ONE: in_space("int count(int) { return 1; }"), TWO: in_space("int count(long) { return 2; }")},
     [f"{ONE}:3: count stands in {TWO}:3", f"{TWO}:3: count stands in {ONE}:3"]),
    ("a name that the other has from elsewhere", {ONE: in_space("constexpr int WIDTH = 2;"), TWO: "namespace penstock {\nint wide() { return WIDTH; }\n}\n"},
     [f"{ONE}:3: WIDTH stands in {TWO}:2"]),
    ("static, too", {ONE: "static int count() { return 1; }\n", TWO: "int twice() { return 2 * count(); }\n"}, [f"{ONE}:1: count stands in {TWO}:1"]),
    ("a macro that stays", {ONE: "#define ROW(x) x\n", TWO: "int a() { return ROW(1); }\n"}, [f"{ONE}:1: ROW stands"]),
    ("a macro that goes", {ONE: "#define ROW(x) x\n#undef ROW\n", TWO: "#define ROW(x) x\n#undef ROW\n"}, []),
    ("one alias in two", {ONE: in_space("using Kind = Message::Kind;"), TWO: in_space("using Kind = Message::Kind;")}, []),
    ("two aliases of one name", {ONE: in_space("using Kind = Message::Kind;"), TWO: in_space("using Kind = Other::Kind;")},
     [f"{ONE}:3: Kind", f"{TWO}:3: Kind"]),
    ("a namespace opened for one", {ONE: "using namespace far;\n", TWO: "int a();\n"}, [f"{ONE}:1: using namespace far would hold in {TWO}"]),
    ("a variable of a function, a member", {ONE: in_space("int text() { return 1; }"), TWO: "int b(A a) { int text = 1; return a.text() + text; }\n"}, []),
    ("what a header declares", {"src/base/c.h": "namespace penstock {\nint count();\n}\n", ONE: '#include "src/base/c.h"\n' + in_space("int count(int) { return 1; }")},
     [f"{ONE}:4: count is what src/base/c.h:2 declares"]),
    ("what a header declares elsewhere", {"src/base/c.h": "namespace other {\nint count();\n}\n", ONE: '#include "src/base/c.h"\n' + in_space("int count(int) { return 1; }")}, []),
    ("a definition of what the header declares", {"src/base/c.h": "namespace penstock {\nstruct Clock { int now(); };\n}\n",
     ONE: '#include "src/base/c.h"\nnamespace penstock {\nint Clock::now() { return 1; }\n}\n'}, []),
    ("programs of their own", {ONE: in_space("int count() { return 1; }") + "int main() {}\n", TWO: in_space("int count() { return 2; }")}, []),
    ("a type without its header", {"src/base/c.h": "struct Clock { int now; };\n", ONE: "int now(Clock& clock) { return clock.now; }\n"},
     [f"{ONE}:1: names Clock and does not include src/base/c.h"]),
    ("a type by another header", {"src/base/c.h": "struct Clock { int now; };\n", "src/base/d.h": '#include "src/base/c.h"\n',
                                  ONE: '#include "src/base/d.h"\nint now(Clock& clock) { return clock.now; }\n'}, []),
]

if __name__ == "__main__":
    main(check, CASES, __doc__)
