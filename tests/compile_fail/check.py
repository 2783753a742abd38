#!/usr/bin/env python3
"""Compiles one misuse of joblot and checks what the user sees: one error, with the text that the case announces.

    check.py [--precompiled FOLDER] CASE.cpp COMPILER [FLAG...]

A case says what to expect in comments, as regular expressions that must match the one error line:

    // expect: joblot: the range's elements are not tasks
    // expect-g++: ...        only for g++
    // expect-clang: ...      only for clang

A case of several mistakes announces the error of each behind its line; there must be these errors and no others:

    Parallel p({.label = 5}); // error: joblot: a label is a text

Compiled with -DJOBLOT_FIXED it must succeed without a warning, so that it fails for the reason claimed and for no other.
The headers are compiled once for all cases, into FOLDER, by `check.py --precompile FOLDER COMPILER [FLAG...]`; cases
with flags of their own read them themselves.

A case that expects nothing of this compiler is skipped. What a case is compiled with besides, when it is to fail and
when it is to succeed:

    // flags: -std=c++17
    // fixed flags: -O1
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

FLAGS = ["-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-fno-diagnostics-color"]
ERROR = re.compile(r"^(?:.*: )?(?:fatal )?error: .*$", re.MULTILINE)
SKIPPED = 77
EXPECT = re.compile(r"^// expect(?:-(g\+\+|clang))?: (.+)$", re.MULTILINE)
EACH = re.compile(r" // error(?:-(g\+\+|clang))?: (.+)$", re.MULTILINE)

OWN_FLAGS = re.compile(r"^// (fixed )?flags: (.+)$", re.MULTILINE)


def compile_case(case, compiler, flags):
    """Exit status and messages of the compiler, in English whatever the user's language."""
    all_errors = ["-ferror-limit=0"] if is_clang(compiler) else []
    run = subprocess.run([compiler, *FLAGS, *all_errors, *flags, str(case)], capture_output=True, text=True, check=False,
                         env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"})
    return run.returncode, run.stderr


def is_clang(compiler):
    return "clang" in Path(compiler).name


def precompile(folder, compiler, flags):
    """Compiles joblot's headers for all cases into a folder. Both compilers want the flags of the cases."""
    folder.mkdir(parents=True, exist_ok=True)
    header = folder / "headers.hpp"
    header.write_text("#include <joblot/joblot.hpp>\n", encoding="utf-8")
    kept = [flag for flag in FLAGS if flag != "-fsyntax-only"]
    if is_clang(compiler):  # what the header instantiates is compiled with it, not with each case
        kept.append("-fpch-instantiate-templates")
    return subprocess.run([compiler, *kept, *flags, "-x", "c++-header", str(header), "-o", f"{header}.gch"],
                          check=False).returncode


def use_precompiled(folder, compiler):
    """The flags that make a case read what `precompile` made."""
    header = folder / "headers.hpp"
    return ["-include-pch", f"{header}.gch"] if is_clang(compiler) else ["-include", str(header), "-Winvalid-pch"]


def expectations(case, compiler, form=EXPECT):
    """The expressions that count for this compiler."""
    kind = "clang" if is_clang(compiler) else "g++"
    return [text for only, text in form.findall(case.read_text(encoding="utf-8")) if only in ("", kind)]


def own_flags(case, fixed):
    """What the case wants to be compiled with."""
    found = OWN_FLAGS.findall(case.read_text(encoding="utf-8"))
    return [flag for for_fixed, text in found if bool(for_fixed) == fixed for flag in text.split()]


def complaint_about(errors, expected, each):
    """What is wrong with the error lines, or None. `each` has an expression for every one, `expected` some for all."""
    wanted = len(each) or 1
    if len(errors) != wanted:
        return f"gives {len(errors)} errors instead of {'one' if wanted == 1 else wanted}"
    for text in expected:
        for error in errors:
            if not re.search(text, error):
                return f"gives another error than /{text}/"
    left = list(errors)  # compilers give them in an order of their own
    for text in each:
        found = next((error for error in left if re.search(text, error)), None)
        if found is None:
            return f"gives another error than /{text}/"
        left.remove(found)
    return None


def judge(case, compiler, flags):
    """(complaint or None, the compiler's messages)"""
    expected, each = expectations(case, compiler), expectations(case, compiler, EACH)
    if not expected and not each:
        return "says nothing of what to expect", ""
    status, messages = compile_case(case, compiler, [*flags, "-DJOBLOT_FIXED", *own_flags(case, True)])
    if status != 0:
        return "does not compile with -DJOBLOT_FIXED either", messages
    status, messages = compile_case(case, compiler, [*flags, *own_flags(case, False)])
    if status == 0:
        return "compiles, and should not", messages
    return complaint_about(ERROR.findall(messages), expected, each), messages


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precompile", action="store_true", help="compile the headers into a folder, no case")
    parser.add_argument("--precompiled", type=Path, metavar="FOLDER", help="where that was done")
    parser.add_argument("target", type=Path, metavar="CASE|FOLDER")
    parser.add_argument("compiler")
    parser.add_argument("flags", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    if args.precompile:
        return precompile(args.target, args.compiler, args.flags)
    if EXPECT.search(args.target.read_text(encoding="utf-8")) and not expectations(args.target, args.compiler):
        print(f"{args.target.name}: not for this compiler")
        return SKIPPED
    has_own_flags = own_flags(args.target, False) or own_flags(args.target, True)
    if args.precompiled and not has_own_flags:
        args.flags += use_precompiled(args.precompiled, args.compiler)
    complaint, messages = judge(args.target, args.compiler, args.flags)
    print(messages)
    print(f"{args.target.name}: {complaint or 'fails to compile with the expected errors alone'}")
    return 1 if complaint else 0


if __name__ == "__main__":
    sys.exit(main())
