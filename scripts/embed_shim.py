#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Writes include/joblot/dask/generated/worker_shim.hpp from what runs on Dask workers, as one module.

    scripts/embed_shim.py            # after each change in include/joblot/python/worker_shim/
    scripts/embed_shim.py --check    # fails where the header is not what would be written
"""

import hashlib
import pathlib
import re

from generated import write_or_check

ROOT = pathlib.Path(__file__).resolve().parent.parent
FILES = ("joblot_shim.py", "joblot_datasets.py", "joblot_functions.py")
IMPORT = re.compile(r"(from|import) joblot_(shim|datasets)\b")
LONGEST = 12000  # bytes of a literal; compilers may refuse more than 16 KiB

HEADER = """// SPDX-License-Identifier: BSL-1.0
// Written by scripts/embed_shim.py from python/worker_shim/*.py: change those.
#pragma once

#include <string>
#include <string_view>

namespace joblot::dask::engine {{

/// Name of the module on workers. Another version of it has another name, so a cluster can have several.
inline constexpr std::string_view worker_shim_module = "joblot_shim_{digest}";

/// Source of the module that runs on workers; its function `run` runs a batch.
inline std::string worker_shim_source() {{
    // clang-format off
    static constexpr std::string_view parts[] = {{
{parts}
    }};
    // clang-format on
    std::string all;
    for (const std::string_view part : parts) all += part;
    return all;
}}

}} // namespace joblot::dask::engine
"""


def parts_of(text):
    part = ""
    for line in text.splitlines(keepends=True):
        if len((part + line).encode()) > LONGEST:
            yield part
            part = ""
        part += line
    yield part


def header_for(source):
    assert ')py"' not in source
    literals = ",\n".join('R"py(' + part + ')py"' for part in parts_of(source))
    return HEADER.format(digest=hashlib.sha256(source.encode()).hexdigest()[:8], parts=literals)


def one_module():
    """The files after one another; what the later ones import of the first one is there already."""
    first, *others = [(ROOT / "include/joblot/python/worker_shim" / name).read_text() for name in FILES]
    for text in others:
        lines = [line for line in text.splitlines(keepends=True) if not IMPORT.match(line)]
        first += "\n\n" + "".join(lines)
    return first.replace("joblot_shim.block_for = ", "block_for = ")  # its own, once they are one module


if __name__ == "__main__":
    write_or_check(ROOT / "include/joblot/dask/generated/worker_shim.hpp", header_for(one_module()))
