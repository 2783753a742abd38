#!/usr/bin/env python3
"""Checks the include graph of joblot's headers against the layers of the design.

    include_graph.py INCLUDE_DIR [--graph]

A header includes only headers of its own layer or of layers below, without cycles, and no two concrete backends
include each other. Expensive standard headers, streams, sockets, Asio and JSON stay where the rules below allow them.
Every header starts with its licence, a comment that says what it is, and `#pragma once`. Exit status 1: violations.
"""

import argparse
import re
import sys
from pathlib import Path

# First match wins. Paths are relative to include/joblot.
LAYERS = [
    (0, r"(error|options|outcome|delayed|cpu_count|this_task|version|scope|table_mutex|broadcast)\.hpp"),
    (0, r"progress/event\.hpp"),
    (1, r"(persisted|catalogue)\.hpp|(wire|dispatch|progress)/.+\.hpp"),
    (1, r"std_exceptions\.hpp"),
    (2, r"backend/(backend|registry|process_options)\.hpp"),
    (2, r"(process|dask)/.+\.hpp"),
    (3, r"backend/.+\.hpp"),
    (4, r"(parallel_backend|run_call|parallel|generator|init|joblot|dask)\.hpp"),
]
CONCRETE_BACKEND = re.compile(r"backend/(sequential|threads|processes|dask)\.hpp")
ENGINE = re.compile(r"(process|dask)/")

# Who includes them has asked for the cluster, and for what that costs.
DASK = r"dask\.hpp|dask/.+|backend/dask\.hpp"

# (included headers, files that may include them all the same, why)
FORBIDDEN = [
    (r"iostream|format|regex|map|unordered_map|fstream|filesystem|future", r"std_exceptions\.hpp|" + DASK,
     "too expensive for every user to compile"),
    (r"[io]stream|ostream|sstream|streambuf", r"progress/(text|bar)\.hpp|" + DASK,
     "only progress/text and bar write to streams"),
    (r"boost/.*|asio.*", DASK, "the front end must not pay for Boost"),
    (r"openssl/.*", DASK, "only the Dask headers know TLS"),
    (r"nlohmann/.*", DASK, "only the Dask headers know JSON"),
    (r"sys/socket\.h|sys/un\.h|netinet/.*|arpa/.*|netdb\.h", r"(process|dask|backend)/.+|dask\.hpp",
     "sockets belong to the engines"),
]

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.MULTILINE)
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)


def layer_of(name):
    return next((layer for layer, pattern in LAYERS if re.fullmatch(pattern, name)), None)


def read_tree(root):
    """Maps each header's name to its text."""
    return {p.relative_to(root).as_posix(): p.read_text(encoding="utf-8") for p in sorted(root.rglob("*.hpp"))}


def includes_of(name, text, names):
    """The header's joblot includes (by name; unknown ones too) and its other includes."""
    own, foreign = [], []
    for quote, target in INCLUDE.findall(COMMENT.sub("", text)):
        beside = (Path(name).parent / target).as_posix()
        if target.startswith("joblot/"):
            own.append(target.removeprefix("joblot/"))
        elif quote == '"':
            own.append(beside if beside in names else target)
        else:
            foreign.append(target)
    return own, foreign


def check_opening(name, text):
    """The licence, one to three lines of comment, #pragma once: in this order, at the very top."""
    if not re.match(r"// SPDX-License-Identifier: BSL-1\.0\n(// ?\S[^\n]*\n){1,3}#pragma once\n", text):
        yield f"{name}: must start with the SPDX line, 1 to 3 comment lines saying what it is, and #pragma once"


def check_edge(name, target, names):
    if target not in names:
        yield f"{name}: includes joblot/{target}, which does not exist"
        return
    here, there = layer_of(name), layer_of(target)
    if here is None or there is None:
        return  # reported once, by check_tree
    if there > here:
        yield f"{name} (layer {here}) includes {target} (layer {there}): an upward edge"
    if CONCRETE_BACKEND.fullmatch(name) and CONCRETE_BACKEND.fullmatch(target):
        yield f"{name} includes {target}: a backend must not know another backend"
    if re.fullmatch(DASK, target) and not re.fullmatch(DASK, name):
        yield f"{name} includes {target}: only Dask's own headers may, everybody else would pay for it"
    engine, other = ENGINE.match(name), ENGINE.match(target)
    if engine and other and engine[1] != other[1]:
        yield f"{name} includes {target}: the engines must not know each other"


def check_foreign(name, target):
    for pattern, allowed, reason in FORBIDDEN:
        if re.fullmatch(pattern, target) and not re.fullmatch(allowed, name):
            yield f"{name}: includes <{target}>: {reason}"


def find_cycle(graph):
    """One cycle as a list of names that starts and ends with the same one, or None."""
    done, path = set(), []

    def visit(node):
        if node in path:
            return path[path.index(node):] + [node]
        if node in done:
            return None
        path.append(node)
        for target in graph.get(node, ()):
            cycle = visit(target)
            if cycle:
                return cycle
        path.pop()
        done.add(node)
        return None

    return next((cycle for cycle in map(visit, graph) if cycle), None)


def check_tree(headers):
    """All violations in `headers`, a map of names to texts, as readable lines."""
    problems, graph = [], {}
    for name, text in headers.items():
        if layer_of(name) is None:
            problems.append(f"{name}: belongs to no layer; give it one in include_graph.py")
        own, foreign = includes_of(name, text, headers)
        graph[name] = own
        problems += check_opening(name, text)
        for target in own:
            problems += check_edge(name, target, headers)
        for target in foreign:
            problems += check_foreign(name, target)
    cycle = find_cycle(graph)
    if cycle:
        problems.append("include cycle: " + " -> ".join(cycle))
    return problems, graph


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("include_dir", type=Path, help="the folder that holds joblot/")
    parser.add_argument("--graph", action="store_true", help="print the graph, layer by layer")
    args = parser.parse_args()
    headers = read_tree(args.include_dir / "joblot")
    problems, graph = check_tree(headers)
    if args.graph:
        for name in sorted(graph, key=lambda n: (layer_of(n) is None, layer_of(n) or 0, n)):
            print(f"{layer_of(name)} {name}: {' '.join(graph[name])}")
    if not headers:
        problems.append(f"no headers below {args.include_dir}/joblot")
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"include graph: {len(headers)} headers, {sum(map(len, graph.values()))} edges, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
