#!/usr/bin/env python3
"""Compiles one misuse of joblot and checks what the user sees: one error, with the text that the case announces.

    check.py CASE.cpp COMPILER [FLAG...]

A case says what to expect in comments, as regular expressions that must match the one error line:

    // expect: joblot: the range's elements are not tasks
    // expect-g++: ...        only for g++
    // expect-clang: ...      only for clang

Compiled with -DJOBLOT_FIXED it must succeed without a warning, so that it fails for the reason claimed and for no other.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

FLAGS = ["-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-fno-diagnostics-color"]
ERROR = re.compile(r"^(?:.*: )?(?:fatal )?error: .*$", re.MULTILINE)
EXPECT = re.compile(r"^// expect(?:-(g\+\+|clang))?: (.+)$", re.MULTILINE)


def compile_case(case, compiler, flags):
    """Exit status and messages of the compiler, in English whatever the user's language."""
    run = subprocess.run([compiler, *FLAGS, *flags, str(case)], capture_output=True, text=True, check=False,
                         env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"})
    return run.returncode, run.stderr


def expectations(case, compiler):
    """The expressions that count for this compiler."""
    kind = "clang" if "clang" in Path(compiler).name else "g++"
    return [text for only, text in EXPECT.findall(case.read_text(encoding="utf-8")) if only in ("", kind)]


def judge(case, compiler, flags):
    """(complaint or None, the compiler's messages)"""
    expected = expectations(case, compiler)
    if not expected:
        return "says nothing of what to expect", ""
    status, messages = compile_case(case, compiler, [*flags, "-DJOBLOT_FIXED"])
    if status != 0:
        return "does not compile with -DJOBLOT_FIXED either", messages
    status, messages = compile_case(case, compiler, flags)
    if status == 0:
        return "compiles, and should not", messages
    errors = ERROR.findall(messages)
    if len(errors) != 1:
        return f"gives {len(errors)} errors instead of one", messages
    for text in expected:
        if not re.search(text, errors[0]):
            return f"gives another error than /{text}/", messages
    return None, messages


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", type=Path)
    parser.add_argument("compiler")
    parser.add_argument("flags", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    complaint, messages = judge(args.case, args.compiler, args.flags)
    print(messages)
    print(f"{args.case.name}: {complaint or 'fails to compile with the one expected error'}")
    return 1 if complaint else 0


if __name__ == "__main__":
    sys.exit(main())
