#!/usr/bin/env python3
"""Looks in joblot's headers for names that headers of others define as macros.

    macros_of_others.py INCLUDE_DIR LIST.hpp

LIST.hpp defines them, as such headers do. A name that is defined without parameters must not be there at all. One that
is a macro with parameters harms only where an opening parenthesis follows. What `joblot/core/macros_off.hpp` puts aside does
no harm: it has to have all others in it, and to bring all back that it puts aside. Exit status 1: something is missing.
"""

import re
import sys
from pathlib import Path

DEFINE = re.compile(r"^#define (\w+)(\(?)", re.MULTILINE)
PUT_ASIDE = re.compile(r'^#pragma push_macro\("(\w+)"\)\n#undef \1$', re.MULTILINE)
BROUGHT_BACK = re.compile(r'^#pragma pop_macro\("(\w+)"\)$', re.MULTILINE)
OFF, BACK = "joblot/core/macros_off.hpp", "joblot/core/macros_back.hpp"
# What the preprocessor does not take for a name: comments, texts (raw ones, too), characters, directives' file names.
NOT_CODE = re.compile(r'R"(\w*)\(.*?\)\1"|//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'(?!\d)'
                      r"|^#[ \t]*include[^\n]*", re.DOTALL | re.MULTILINE)


def code_of(text):
    """The text with blanks for what is no code; lines stay where they are."""
    return NOT_CODE.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)


def names_of(listing):
    """(names without parameters, names with parameters)"""
    found = DEFINE.findall(listing)
    return {name for name, paren in found if not paren}, {name for name, paren in found if paren}


def uses(text, plain, callable_):
    """Yields (line number, name) of each use that a macro would replace."""
    for found in re.finditer(r"\b([A-Za-z_]\w*)(\s*\()?", code_of(text)):
        if found[1] in plain or (found[1] in callable_ and found[2]):
            yield text.count("\n", 0, found.start()) + 1, found[1]


def main():
    root, listing = Path(sys.argv[1]), Path(sys.argv[2])
    plain, callable_ = names_of(listing.read_text(encoding="utf-8"))
    aside = PUT_ASIDE.findall((root / OFF).read_text(encoding="utf-8"))
    problems = 0
    if aside != BROUGHT_BACK.findall((root / BACK).read_text(encoding="utf-8")):
        problems += 1
        print(f"{BACK} does not bring back what {OFF} puts aside", file=sys.stderr)
    for header in sorted(root.rglob("*.hpp")):
        if header in (root / OFF, root / BACK):
            continue
        for line, name in uses(header.read_text(encoding="utf-8"), plain - set(aside), callable_ - set(aside)):
            problems += 1
            print(f"{header.relative_to(root)}:{line}: `{name}` is a macro in headers of others (see {listing.name}): "
                  f"use another name, or add it to {OFF} and {BACK}", file=sys.stderr)
    print(f"macros of others: {len(plain) + len(callable_)} names, {problems} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
