#!/usr/bin/env python3
"""Calls and words that do not stand in this project, each with its reason.

A line that must have one anyway ends in `// allow NAME: reason`, and the reason is read by people.
"""
import re

from tree import ALL_CODE_FOLDERS, CODE_FOLDERS, CXX, Finding, code_only, files, main, read

CLOCK_HOME = ("src/base/clock.cc",)
NO_REAL_TIME = CODE_FOLDERS + ("tests/unit/", "tests/sim/")
CALL = r"(?<![\w.>:])(?:std\s*::\s*|::\s*)?(?:{})\s*\("

OWNED_AT_ONCE = re.compile(r"\bunique_ptr<[^;{}]*>\s*\w*\s*\(\s*$")  # where a constructor is private, make_unique cannot

# name, pattern, folders it holds in, files where it is at home, why
RULES = [
    ("number-parsing", CALL.format("(?:strto(?:l|ul|ll|ull|d|f|ld|imax|umax)|ato(?:i|l|ll|f)|s?scanf|fscanf|stoi|stol|stoul|stoll|stoull|stod)"),
     ALL_CODE_FOLDERS, (), "use std::from_chars: no locale, no silent overflow, no leading blanks"),
    ("unbounded-string", CALL.format("(?:v?sprintf|strcpy|strcat|strncpy|strncat|stpcpy|gets|strtok)"),
     ALL_CODE_FOLDERS, (), "no bound or no terminator: use std::string, std::format_to_n or fmt"),
    ("shared-state-libc", CALL.format("(?:strerror|s?rand|drand48|localtime|gmtime|ctime|asctime|getpwnam|getgrnam|inet_ntoa|tmpnam|mktemp)"),
     ALL_CODE_FOLDERS, (), "hidden shared state: use the _r form, base/prng.h or base/result.h"),
    ("shell", CALL.format("(?:system|popen)"), ALL_CODE_FOLDERS, (), "no shell is ever started"),
    ("stack", CALL.format("(?:alloca|__builtin_alloca)"), ALL_CODE_FOLDERS, (), "the stack has no limit to test"),
    ("clock", r"\bchrono\s*::\s*(?:system|steady|high_resolution)_clock\b|" + CALL.format("(?:clock_gettime|gettimeofday|timespec_get|__rdtsc|_rdtsc)")
     + r"|(?<![\w.>:])(?:std\s*::\s*|::\s*)?time\s*\(\s*(?:nullptr|NULL|0|&)",
     NO_REAL_TIME, CLOCK_HOME, "clocks are read behind src/base/clock.h; elsewhere `now` is a parameter"),
    ("sleep", CALL.format("(?:sleep|usleep|nanosleep|clock_nanosleep)") + r"|\bsleep_(?:for|until)\b",
     NO_REAL_TIME, (), "wait for an event with a deadline; tests move the clock by hand"),
    ("shared-ownership", r"\b(?:shared_ptr|make_shared|enable_shared_from_this|weak_ptr)\b", ALL_CODE_FOLDERS, (), "one owner (STYLE: ownership)"),
    ("volatile", r"(?<!asm )(?<!asm__ )\bvolatile\b", ALL_CODE_FOLDERS, (), "not a synchronisation tool: use std::atomic, or atomic_ref on shared memory"),
    ("bare-new", r"(?<!operator )\bnew\b(?!\s*\((?!\s*std\s*::\s*nothrow))", ALL_CODE_FOLDERS, (), "make_unique, a pool or an arena owns it"),
    ("bare-delete", r"(?<!operator )(?<!= )(?<!=)\bdelete\b", ALL_CODE_FOLDERS, (), "make_unique, a pool or an arena owns it"),
    ("throw", r"\bthrow\b", ALL_CODE_FOLDERS, (), "our code throws nothing: Result<T> (STYLE: errors)"),
]


def check(root):
    found = []
    for path in files(root, CXX, ALL_CODE_FOLDERS):
        text = read(root, path)
        lines = text.splitlines()
        code = code_only(text)
        for name, pattern, folders, homes, why in RULES:
            if not path.startswith(folders) or path in homes:
                continue
            for match in re.finditer(pattern, code):
                line = code.count("\n", 0, match.start()) + 1
                source = lines[line - 1]
                if name == "bare-new" and OWNED_AT_ONCE.search(code[:match.start()]):
                    continue
                if re.match(r"\s*#\s*include", source) or re.search(rf"// allow {name}: \S", source):
                    continue
                found.append(Finding(path, line, f"{match.group(0).strip().rstrip('(').strip()} [{name}]: {why}"))
    return found


def bad(text, line=1, path="src/http/a.cc"):
    return ("must find: " + text, {path: "\n" * (line - 1) + text + "\n"}, [f"{path}:{line}: "])


CASES = [
    ("what looks alike passes", {"src/http/a.cc": "\n".join([
        "// never strtol(3), throw or volatile", 'const char* s = "atoi(x) new delete";', "int my_atoi(int);", "x.time(0); y->system(1);",
        "struct A { A(const A&) = delete; void operator delete(void*); };", "new (p) A();", "auto n = 1'000'000; int z = 0; // '",
        'asm volatile("" ::: "memory");', "#include <new>", "int newest = 1; timer::clock_gettime(1); strerror_r(1, b, 2);",
        'auto r = R"(throw system("x"))";', "std::unique_ptr<A> a(new A);", "return std::unique_ptr<A>(new A(1));"]) + "\n"}, []),
    bad("long x = strtol(p, nullptr, 10);"), bad("int x = std::atoi(p);", 3), bad("sscanf(p, f);"), bad("sprintf(b, f);"),
    bad("strcpy(a, b);"), bad("strcat(a, b);"), bad("gets(a);"), bad("puts(strerror(2));"), bad("int x = rand();"), bad("::system(c);"),
    bad("popen(c, m);"), bad("alloca(9);"), bad("clock_gettime(id, &ts);"), bad("auto t = time(nullptr);"),
    bad("auto t = std::chrono::steady_clock::now();", 2, "tests/unit/http/a_test.cc"), bad("std::shared_ptr<int> p;"), bad("volatile int x;"),
    bad("auto* p = new int;"), bad("auto* p = new (std::nothrow) int;"), bad("delete p;"), bad("throw 1;"), bad("usleep(3);", 1, "tests/sim/a.cc"),
    ("the clock has a home", {"src/base/clock.cc": "int f() { return clock_gettime(id, &ts); }\n"}, []),
    ("benchmarks measure real time", {"perf/micro/a.cc": "auto t = std::chrono::steady_clock::now();\n"}, []),
    ("a written reason is heard", {"src/http/a.cc": "int* p = new int;  // allow bare-new: the C API frees it\n"}, []),
    ("no reason is no reason", {"src/http/a.cc": "int* p = new int;  // allow bare-new:\n"}, ["src/http/a.cc:1: "]),
]

if __name__ == "__main__":
    main(check, CASES, __doc__)
