#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Draws the rooms of include/joblot, and which includes which, into docs/rooms.svg.

    scripts/draw_rooms.py            # after a change of rooms or of their includes
    scripts/draw_rooms.py --check    # exit status 1 if the picture is not current

Rooms and floors are those of tests/support/include_graph.py. Of the arrows only those are drawn that do not follow from
others; all rooms include the ground floor.
"""

import collections
import pathlib
import sys

import generated

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "support"))
import include_graph  # noqa: E402

# What a room is, as the picture says it.
SAYS = {
    "words": "options, errors, tasks", "core": "what is in force where", "system": "Linux and POSIX",
    "wire": "values as bytes", "types of others": "eigen, cereal, ...", "random": "engine, distributions", "dispatch": "jobs, batches, results",
    "progress": "lines, bar, events", "backend": "the contract", "pool": "threads", "process": "worker processes",
    "dask": "what users name", "dask/generated": "module for workers", "dask/protocol": "Dask's bytes",
    "dask/net": "connections", "dask/session": "a client of a scheduler", "dask/local": "a cluster here",
    "dask/program": "the program, there", "dask/data": "what stays there", "dask/call": "one call",
    "dask/entry": "the engine's doors", "backends": "four descriptions", "call": "what a call is made of",
    "joblot": "joblot.hpp, dask.hpp",
}
WIDTH, HEIGHT, GAP, ROW = 168, 44, 14, 78
COLUMNS = 7  # of WIDTH + GAP: three for everybody's rooms, the rest for Dask's


def read_rooms():
    """{room: its floor}, {room: number of headers}, {room: rooms that it includes}, without the ground floor's."""
    floors = {room: floor for floor, room, _ in include_graph.ROOMS}
    problems, graph = include_graph.check_tree(include_graph.read_tree(ROOT / "include" / "joblot"))
    if problems:
        sys.exit("\n".join(problems))
    sizes = collections.Counter(include_graph.place_of(header)[1] for header in graph)
    return floors, sizes, include_graph.room_graph(graph)


def reduced(edges):
    """Without the edges that follow from others. There are no cycles: include_graph.py sees to that."""
    def reach(room):
        return {room}.union(*(reach(next_room) for next_room in edges[room]))

    return {room: {to for to in targets if not any(to in reach(by) for by in targets - {to})}
            for room, targets in edges.items()}


def places(floors):
    """{room: (x, y)} of its upper left corner: a row for each floor, Dask's rooms on the right."""
    result, top = {}, max(floors.values())
    for floor in set(floors.values()):
        for is_dask, first, columns in ((False, 0, 3), (True, 3, COLUMNS - 3)):
            row = [r for r, f in floors.items() if f == floor and r.startswith("dask") == is_dask]
            width = columns * (WIDTH + GAP)
            for i, room in enumerate(row):
                x = first * (WIDTH + GAP) + (i + 0.5) * width / len(row) - WIDTH / 2 + GAP
                result[room] = round(x), GAP + (top - floor) * ROW
    return result


def draw():
    floors, sizes, edges = read_rooms()
    at = places(floors)
    width, height = COLUMNS * (WIDTH + GAP) + 2 * GAP, (max(floors.values()) + 1) * ROW
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">',
             "<!-- Drawn by scripts/draw_rooms.py. -->",
             '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
             '<path d="M0 0 8 4 0 8z" fill="#888"/></marker></defs>', f'<rect width="{width}" height="{height}" fill="#fff"/>']
    for room, targets in reduced(edges).items():
        for to in sorted(targets):
            (x, y), (to_x, to_y) = at[room], at[to]
            if floors[room] == floors[to]:  # side by side
                start, end = (x, y + HEIGHT / 2), (to_x + WIDTH if to_x < x else to_x, to_y + HEIGHT / 2)
                start = start if to_x < x else (x + WIDTH, start[1])
            else:
                start, end = (x + WIDTH / 2, y + HEIGHT), (to_x + WIDTH / 2, to_y)
            lines.append(f'<line x1="{start[0]:g}" y1="{start[1]:g}" x2="{end[0]:g}" y2="{end[1]:g}" stroke="#888" '
                         'marker-end="url(#tip)"/>')
    for room, (x, y) in at.items():
        fill = "#eef3fb" if room.startswith("dask") else "#f3f7ee" if floors[room] else "#f4f0e8"
        lines += [f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="5" fill="{fill}" stroke="#555"/>',
                  f'<text x="{x + WIDTH // 2}" y="{y + 18}" text-anchor="middle" font-size="14">{room} ({sizes[room]})</text>',
                  f'<text x="{x + WIDTH // 2}" y="{y + 35}" text-anchor="middle" font-size="10" fill="#444">{SAYS[room]}'
                  "</text>"]
    return "\n".join([*lines, "</svg>", ""])


if __name__ == "__main__":
    generated.write_or_check(ROOT / "docs" / "rooms.svg", draw())
