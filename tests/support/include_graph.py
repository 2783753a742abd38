#!/usr/bin/env python3
"""Checks the include graph of joblot's headers against the rooms of the house.

    include_graph.py INCLUDE_DIR [--graph]

A header includes only headers of its own floor or of floors below, without cycles, and no two concrete backends
include each other. Expensive standard headers, streams, sockets, Asio and JSON stay where the rules below allow them.
Headers that users include start with `core/requirements.hpp`.
Every header starts with its licence, a comment that says what it is, and `#pragma once`. Exit status 1: violations.
"""

import argparse
import re
import sys
from pathlib import Path

# The rooms of the house, from the ground up: (floor, room, its headers, relative to include/joblot). First match wins.
# A header includes its own floor and those below; docs/rooms.svg is drawn from this (scripts/draw_rooms.py).
ROOMS = [
    (0, "words", r"(error|options|outcome|delayed|cpu_count|this_task|stop_on_signal|version|broadcast|travel)\.hpp|"
                 r"progress/event\.hpp"),
    (0, "core", r"core/.+"),
    (0, "system", r"system/.+"),
    (1, "random", r"random\.hpp|random/.+"),
    (1, "wire", r"wire/.+|(persisted|per_worker)\.hpp"),
    (2, "progress", r"progress/.+"),
    (2, "dispatch", r"dispatch/.+"),
    (2, "types of others", r"(std_exceptions|eigen|cereal)\.hpp"),
    (3, "backend", r"backend/(backend|registry|process_options)\.hpp"),
    (4, "pool", r"pool/.+"),
    (4, "process", r"process/.+"),
    (4, "dask", r"dask/(options|client|dataset|chunk|dtype|exported|utf8|engine_access)\.hpp"),
    (4, "dask/generated", r"dask/generated/.+"),
    (4, "dask/protocol", r"dask/protocol/.+"),
    (5, "dask/net", r"dask/net/.+"),
    (6, "dask/session", r"dask/session/.+"),
    (6, "dask/local", r"dask/local/.+"),
    (7, "dask/program", r"dask/program/.+"),
    (8, "dask/data", r"dask/data/.+"),
    (9, "dask/call", r"dask/call/.+"),
    (10, "dask/entry", r"dask/(entry/.+|engine\.hpp)"),
    (5, "backends", r"backend/.+"),
    (6, "call", r"call/.+|(parallel_backend|generator)\.hpp"),
    (7, "joblot", r"(parallel|init|joblot|dask)\.hpp"),
]
CONCRETE_BACKEND = re.compile(r"backend/(sequential|threads|processes|dask)\.hpp")
ENGINE = re.compile(r"(pool|process|dask)/")

# Who includes them has asked for the cluster, and for what that costs.
DASK = r"dask\.hpp|dask/.+|backend/dask\.hpp"

# (included headers, files that may include them all the same, why)
FORBIDDEN = [
    (r"iostream|format|regex|map|unordered_map|fstream|filesystem|future", r"std_exceptions\.hpp|process/worker_output\.hpp|" + DASK,
     "too expensive for every user to compile"),
    (r"[io]stream|ostream|sstream|streambuf", r"progress/(text|bar)\.hpp|process/worker_output\.hpp|" + DASK,
     "only progress/text and bar write to streams"),
    (r"boost/.*|asio.*", DASK, "the front end must not pay for Boost"),
    (r"openssl/.*", DASK, "only the Dask headers know TLS"),
    (r"nlohmann/.*", DASK, "only the Dask headers know JSON"),
    (r"cereal/.*", r"cereal\.hpp", "who wants cereal includes it, or joblot/cereal.hpp"),
    (r"Eigen/.*", r"eigen\.hpp", "who wants Eigen includes joblot/eigen.hpp"),
    (r"sys/socket\.h|sys/un\.h|netinet/.*|arpa/.*|netdb\.h", r"(process|dask|backend)/.+|dask\.hpp",
     "sockets belong to the engines"),
]

# Those that a user may include: what joblot needs of the compilation is said before anything else can go wrong.
USER_FACING = re.compile(r"[^/]+\.hpp|backend/.+|progress/(bar|text|event)\.hpp|wire/remote_exception\.hpp|"
                         r"dask/(client|dataset|options|engine|engine_access)\.hpp")

# A pair around what others include: both are included many times.
MACROS = re.compile(r"core/macros_(off|back)\.hpp")

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.MULTILINE)
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)


def place_of(name):
    """(floor, room), or (None, None)."""
    return next(((floor, room) for floor, room, pattern in ROOMS if re.fullmatch(pattern, name)), (None, None))


def floor_of(name):
    return place_of(name)[0]


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
    opening = r"// SPDX-License-Identifier: BSL-1\.0\n(// ?\S[^\n]*\n){1,3}"
    if not re.match(opening + ("\n" if MACROS.fullmatch(name) else "#pragma once\n"), text):
        yield f"{name}: must start with the SPDX line, 1 to 3 comment lines saying what it is, and #pragma once"


def check_requirements(name, text):
    if USER_FACING.fullmatch(name) and INCLUDE.findall(text)[:1] != [("<", "joblot/core/requirements.hpp")]:
        yield f"{name}: must include <joblot/core/requirements.hpp> before anything else"


def check_edge(name, target, names):
    if target not in names:
        yield f"{name}: includes joblot/{target}, which does not exist"
        return
    here, there = floor_of(name), floor_of(target)
    if here is None or there is None:
        return  # reported once, by check_tree
    if there > here:
        yield f"{name} (floor {here}) includes {target} (floor {there}): an upward edge"
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


def room_graph(graph):
    """{room: the other rooms above the ground floor that it includes}, of a graph of headers."""
    rooms = {room: set() for _, room, _ in ROOMS}
    for name, targets in graph.items():
        for target in targets:
            floor, room = place_of(target)
            if floor and room != place_of(name)[1]:
                rooms[place_of(name)[1]].add(room)
    return rooms


def check_tree(headers):
    """All violations in `headers`, a map of names to texts, as readable lines."""
    problems, graph = [], {}
    for name, text in headers.items():
        if floor_of(name) is None:
            problems.append(f"{name}: belongs to no room; give it one in include_graph.py")
        own, foreign = includes_of(name, text, headers)
        graph[name] = own
        problems += check_opening(name, text)
        problems += check_requirements(name, text)
        for target in own:
            problems += check_edge(name, target, headers)
        for target in foreign:
            problems += check_foreign(name, target)
    cycle = find_cycle(graph)
    if cycle:
        problems.append("include cycle: " + " -> ".join(cycle))
    elif cycle := not problems and find_cycle(room_graph(graph)):
        problems.append("cycle of rooms: " + " -> ".join(cycle))
    return problems, graph


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("include_dir", type=Path, help="the folder that holds joblot/")
    parser.add_argument("--graph", action="store_true", help="print the graph, floor by floor")
    args = parser.parse_args()
    headers = read_tree(args.include_dir / "joblot")
    problems, graph = check_tree(headers)
    if args.graph:
        for name in sorted(graph, key=lambda n: (floor_of(n) is None, floor_of(n) or 0, n)):
            print(f"{floor_of(name)} {name}: {' '.join(graph[name])}")
    if not headers:
        problems.append(f"no headers below {args.include_dir}/joblot")
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"include graph: {len(headers)} headers, {sum(map(len, graph.values()))} edges, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
