#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Writes single_include/joblot.hpp: all that joblot/joblot.hpp includes of joblot, in one file.

    scripts/single_include.py            # after each change in include/joblot/
    scripts/single_include.py --check    # fails where the file is not what would be written
"""

import pathlib
import re

from generated import write_or_check

ROOT = pathlib.Path(__file__).resolve().parent.parent
OWN = re.compile(r"#include <(joblot/[^>]+)>$")
OUTERMOST = "joblot/joblot.hpp"
MACROS = ("joblot/core/macros_off.hpp", "joblot/core/macros_back.hpp")

HEAD = """// SPDX-License-Identifier: BSL-1.0
// Written by scripts/single_include.py from include/joblot/: change the headers there.
// All of joblot/joblot.hpp in one file: threads and worker processes. For clusters take the folder include/.
#pragma once
"""


def inlined(header, seen):
    """The lines of a header, with what it includes of joblot in the places where it does, each once. Macros of others are
    put aside around it all, not for each header again."""
    seen.add(header)
    yield f"// ---- {header}"
    for line in (ROOT / "include" / header).read_text().splitlines():
        own = OWN.match(line)
        if not own:
            if line != "#pragma once" and not line.startswith("// SPDX-License-Identifier"):
                yield line
        elif own[1] not in seen and (header == OUTERMOST or own[1] not in MACROS):
            yield from inlined(own[1], seen)


def single():
    lines = [HEAD]
    for line in inlined(OUTERMOST, set()):
        if line or lines[-1]:  # one empty line at most
            lines.append(line)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    write_or_check(ROOT / "single_include/joblot.hpp", single())
