#!/usr/bin/env python3
"""Finds what a process would have more than once where a library hides its symbols.

    one_per_process.py INCLUDE_DIR [--library FILE]

A static variable of joblot's, and one of a thread, is marked JOBLOT_ONE_PER_PROCESS, or the function is that holds it:
see system/visibility.hpp. One in a function is `constinit`: for the guard of another one a forked child may wait for ever. Constants need no mark, nor does what a template has for each type of a user's. Exceptions are
marked JOBLOT_ONE_TYPE. The mark carries the version.
With a library that was compiled with hidden visibility: what of joblot's it would not share. Exit status 1: violations.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

MARK, TYPE_MARK = "JOBLOT_ONE_PER_PROCESS", "JOBLOT_ONE_TYPE"

NOISE = re.compile(r'/\*.*?\*/|//[^\n]*|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'(?!\w)'
                   r"|^[ \t]*#(?:\\\n|[^\n])*", re.DOTALL | re.MULTILINE)
HIDDEN = re.compile(r'\[\[gnu::visibility\("hidden"\)\]\]')
HAS_GUARD = re.compile(r"\s*static (?!constinit\b|constexpr\b)")
TEMPLATE = re.compile(r"\btemplate\s*<")
ONE_INSTANCE = re.compile(r"\btemplate\s*<\s*class\s*=\s*void\s*>")  # a template only to be compiled when it is used
EXCEPTION = re.compile(r"\b(?:class|struct)\s+([\w \[\]:]*?)(\w+)(?:\s+final)?\s*:[^{]*"
                       r"\b(?:\w*error|std::exception)\s*(?:,[^{]*)?$")


def without_angles(text):
    """`text` without template arguments, which may hold anything."""
    depth, kept = 0, []
    for at, c in enumerate(text):
        if c == "<" and text[at - 1] not in "<=" and text[at + 1:at + 2] not in ("<", "="):
            depth += 1
        elif c == ">" and depth and text[at - 1] != "-":
            depth -= 1
        elif not depth:
            kept.append(c)
    return "".join(kept)


class Scope:
    """A pair of braces: what it belongs to, by the text before it."""

    def __init__(self, head, outer):
        plain = without_angles(head)
        if re.search(r"\bnamespace\b", plain):
            self.kind = "namespace"
        elif re.search(r"\b(class|struct|union)\b[^()=]*$", plain):
            self.kind = "class"
        else:
            self.kind = "code"  # a function, a block, a list of values
        self.marked = MARK in head or (outer.kind == "code" and outer.marked)
        self.visible = TYPE_MARK in head or outer.visible
        own = ONE_INSTANCE.search(head)
        self.template = outer.template or (bool(own) and self.kind == "class")
        self.per_type = outer.per_type or (bool(TEMPLATE.search(head)) and not own)


class Outside:
    kind, marked, visible, template, per_type = "namespace", False, False, False, False


def is_variable(declaration, scope):
    """Whether `declaration` (without its initializer) is one of something that stays."""
    plain = without_angles(re.sub(r"\[\[.*?\]\]", "", declaration, flags=re.DOTALL))
    plain = re.sub(r"\b(public|private|protected)\s*:|\balignas\s*\([^)]*\)", "", plain).strip()
    words = re.findall(r"\w+", plain)
    if not {"static", "thread_local", "constinit", "inline"} & set(words[:4]) or "constexpr" in words:
        return False
    if {"using", "friend", "class", "struct", "namespace", "concept", "return", "operator"} & set(words[:4]):
        return False
    if scope.kind == "code":
        return True
    return "(" not in plain and "operator" not in words


def check(name, text):
    """All violations in a header, as readable lines."""
    hidden = {text.count("\n", 0, m.start()) + 1 for m in HIDDEN.finditer(text)}
    text = NOISE.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), text)
    scopes, start, initializing = [Outside], 0, False
    for boundary in re.finditer(r"[{};]", text):
        head, scope = text[start:boundary.start()], scopes[-1]
        declaration = head.split("=")[0] if not ONE_INSTANCE.search(head) else ONE_INSTANCE.sub("", head).split("=")[0]
        line = text.count("\n", 0, boundary.start()) + 1
        first_line = text.count("\n", 0, start + len(head) - len(head.lstrip())) + 1
        exempt = scope.per_type or (TEMPLATE.search(head) and not ONE_INSTANCE.search(head)) or first_line in hidden
        variable = boundary[0] != "}" and is_variable(declaration, scope)
        if variable and not exempt and MARK not in head and not scope.marked:
            yield (f"{name}:{line}: a static variable; mark it {MARK}, or the function that holds it, or make it "
                   "constexpr")
        elif variable and not exempt and scope.template and not scope.visible:
            yield f"{name}:{line}: g++ heeds {MARK} in a class template only where that is {TYPE_MARK}"
        elif variable and scope.kind == "code" and HAS_GUARD.match(head):
            yield (f"{name}:{line}: a forked child may wait for its guard for ever; make it constinit, such as a "
                   "made_once of fork.hpp")
        if boundary[0] == "{":
            scopes.append(Scope(head, scope))
            exception = EXCEPTION.search(head)
            if exception and TYPE_MARK not in exception[1]:
                yield f"{name}:{line}: mark the exception {exception[2]} {TYPE_MARK}"
        elif boundary[0] == "}" and len(scopes) > 1:
            scopes.pop()
        start = boundary.end()


def check_version(headers):
    numbers = re.findall(r"#define JOBLOT_VERSION_\w+ (\d+)", headers.get("version.hpp", ""))
    wanted = "joblot_" + "_".join(numbers)
    found = set(re.findall(r'#define JOBLOT_LAYOUT "(joblot(?:_\d+)+)', headers.get("system/visibility.hpp", "")))
    if found != {wanted}:
        yield f"system/visibility.hpp: JOBLOT_LAYOUT is of {', '.join(sorted(found)) or 'nothing'}; version.hpp says {wanted}"


def check_library(path):
    listing = subprocess.run(["nm", "-C", "-f", "sysv", path], capture_output=True, text=True, check=True).stdout
    rows = [[field.strip() for field in row.rsplit("|", 6)] for row in listing.splitlines()]
    ours = [(row[0].removeprefix("guard variable for "), row[2], row[6]) for row in rows if len(row) == 7]
    ours = [symbol for symbol in ours if symbol[0].startswith("joblot::")]
    if not any(kind in "uVW" for _, kind, _ in ours):
        yield f"{path}: shares nothing of joblot's"
    for name, kind, section in ours:
        constant = section.startswith(".data.rel.ro")
        per_type = "<" in name.replace("<void>", "")
        if kind in "bBdD" and not constant and not per_type and not name.endswith("::stays_loaded"):
            yield f"{path}: has a {name} of its own"


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("include_dir", type=Path)
    arguments.add_argument("--library")
    given = arguments.parse_args()
    root = given.include_dir / "joblot"
    headers = {p.relative_to(root).as_posix(): p.read_text(encoding="utf-8") for p in sorted(root.rglob("*.hpp"))}
    problems = [p for name, text in headers.items() for p in check(name, text)] + list(check_version(headers))
    problems += check_library(given.library) if given.library else []
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{len(headers)} headers, {len(problems)} problems")
    return 1 if problems or not headers else 0


if __name__ == "__main__":
    sys.exit(main())
