#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Compiles every header alone: headers_alone.py COMPILE_COMMANDS.json TARGET CLANG INCLUDE_FOLDER WORK_FOLDER HEADER...

Each is included twice by an otherwise empty source, with the options of the one source of TARGET; by CLANG, or, where
that is "", by the compiler of TARGET.

Nearly all the time goes to what the headers include: Asio, JSON, the standard library. So CLANG precompiles a few of the
headers, and a header that includes one of them, itself or by others, begins with that: before it comes nothing that it
does not include. What has to be instantiated for a precompiled header is so only once (g++ does it again for each that
uses it, which leaves half of the time).
"""

import concurrent.futures
import json
import os
import pathlib
import shlex
import subprocess
import sys

import include_graph

# The ones that save most, each behind those that it includes. Another choice is as right, but slower.
PRECOMPILED = ("error.hpp", "wire/parcel.hpp", "dispatch/job.hpp", "wire/archive.hpp", "process/worker_main.hpp",
               "dask/protocol/message.hpp", "dask/net/comm.hpp", "dask/session/gatherer.hpp",
               "dask/data/scattered_images.hpp", "dask/call/answer_taker.hpp")


def all_included(root):
    """header -> all of ours that it includes, itself or by others; by names like dispatch/job.hpp."""
    texts = include_graph.read_tree(root)
    found = {}

    def included(header):
        if header not in found:
            own, _ = include_graph.includes_of(header, texts[header], texts)
            found[header] = set(own).union(*map(included, own))
        return found[header]

    return {header: included(header) for header in texts}


def options_of(commands, target, clang):
    """The compiler and its options, without files."""
    entry = next(entry for entry in json.loads(commands.read_text()) if f"/{target}.dir/" in entry["command"])
    words = shlex.split(entry["command"])
    compiler = next(i for i, word in enumerate(words) if "++" in os.path.basename(word))  # behind a launcher
    # g++ has options that clang leaves alone, and no word for macros_back.hpp where nothing was put away.
    others = ["-Wno-unused-command-line-argument", "-Wno-ignored-pragmas"] if clang else []
    return [clang or words[compiler], *words[compiler + 1:words.index("-o")], "-O0", *others]


class Work:
    """How headers are compiled; `precompiled` must have been before the others are."""

    def __init__(self, options, folder, included, precompiled):
        self.options, self.folder, self.included, self.precompiled = options, folder, included, precompiled
        folder.mkdir(parents=True, exist_ok=True)

    def precompile(self, header):
        """Not on top of another one: clang 19 crashes when it reads some of these."""
        return self.run(header, ".hpp", "-fpch-instantiate-templates", "-o", self.path(header, ".pch"))

    def compile(self, header):
        first = next((name for name in reversed(self.precompiled) if name in self.included[header]), None)
        before = ("-include-pch", self.path(first, ".pch")) if first else ()
        return self.run(header, ".cpp", "-fsyntax-only", *before)

    def path(self, header, ending):
        return self.folder / (header.replace("/", "-").removesuffix(".hpp") + ending)

    def run(self, header, ending, *options):
        """What the compiler says, "" if all is well."""
        source = self.path(header, ending)
        source.write_text(f"#include <joblot/{header}>\n" * 2)
        run = subprocess.run([*self.options, *map(str, (*options, source))], stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, check=False)
        return "" if run.returncode == 0 else run.stdout or f"exit status {run.returncode}"


def main(commands, target, clang, root, folder, *headers):
    root = pathlib.Path(root) / "joblot"
    headers = [os.path.relpath(header, root) for header in headers]
    included = all_included(root)
    if gone := [header for header in PRECOMPILED if header not in included]:
        sys.exit(f"headers_alone.py: there is no {gone[0]} any more: PRECOMPILED names it")
    precompiled = [header for header in PRECOMPILED if clang and header in headers]
    work = Work(options_of(pathlib.Path(commands), target, clang), pathlib.Path(folder), included, precompiled)
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for header, errors in zip(precompiled, pool.map(work.precompile, precompiled)):
            if errors:
                sys.exit(f"{header} does not compile alone:\n{errors[:3000]}")
        for header, errors in zip(headers, pool.map(work.compile, headers)):
            if errors:
                failed += 1
                print(f"{header} does not compile alone:\n{errors[:3000]}")
    print(f"{len(headers) - failed} headers compile alone, {failed} do not")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
