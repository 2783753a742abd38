# SPDX-License-Identifier: BSL-1.0
"""Draws curves over task sizes as an SVG: a panel for each kind of call, a line for each library."""

import math

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 360, 230, 52, 12, 34, 44
COLOURS = {"joblot": "#c0392b", "tbb": "#2471a3", "openmp": "#229954"}
NAMES = {"joblot": "joblot", "tbb": "oneTBB", "openmp": "OpenMP"}
DASHES = {"joblot": "", "tbb": "6 3", "openmp": "2 3"}  # to be told apart without colours, too


def stroke(name):
    """How a library's line is drawn."""
    dashes = f' stroke-dasharray="{DASHES[name]}"' if DASHES[name] else ""
    return f'stroke="{COLOURS[name]}" stroke-width="2"{dashes}'


def in_words(nanoseconds):
    for unit, scale in (("ms", 1e6), ("µs", 1e3)):
        if nanoseconds >= scale:
            return f"{nanoseconds / scale:g} {unit}"
    return f"{nanoseconds:g} ns"


class Panel:
    """One kind of call; x is the size of a task on a logarithmic scale, y the share of the time that is work."""

    def __init__(self, left, title, curves):
        self.left, self.title, self.curves = left, title, curves
        sizes = [size for curve in curves.values() for size, _ in curve]
        self.low, self.high = math.floor(math.log10(min(sizes))), math.ceil(math.log10(max(sizes)))

    def x(self, size):
        share = (math.log10(size) - self.low) / (self.high - self.low)
        return self.left + LEFT + share * (WIDTH - LEFT - RIGHT)

    @staticmethod
    def y(share):
        return TOP + (1 - min(max(share, 0), 1)) * (HEIGHT - TOP - BOTTOM)

    def axes(self):
        right, bottom = self.left + WIDTH - RIGHT, HEIGHT - BOTTOM
        yield f'<text x="{self.left + LEFT}" y="18" font-size="13">{self.title}</text>'
        for percent in (0, 25, 50, 75, 100):
            y = self.y(percent / 100)
            yield f'<path d="M{self.left + LEFT} {y:.1f}H{right}" stroke="#ddd"/>'
            yield f'<text x="{self.left + LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{percent} %</text>'
        for power in range(self.low, self.high + 1):
            x = self.x(10 ** power)
            yield f'<path d="M{x:.1f} {TOP}V{bottom}" stroke="#ddd"/>'
            anchor = "end" if power == self.high else "middle"
            yield f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="{anchor}">{in_words(10 ** power)}</text>'
        yield (f'<text x="{(self.left + LEFT + right) / 2}" y="{bottom + 34}" text-anchor="middle">'
               "work in one task</text>")

    def lines(self):
        for name, curve in self.curves.items():
            points = " ".join(f"{self.x(size):.1f},{self.y(share):.1f}" for size, share in sorted(curve))
            yield f'<polyline points="{points}" fill="none" {stroke(name)}/>'


def legend(names, left):
    for i, name in enumerate(names):
        y = HEIGHT - BOTTOM - 16 * (len(names) - i)
        yield f'<path d="M{left} {y}h26" {stroke(name)}/>'
        yield f'<text x="{left + 32}" y="{y + 4}">{NAMES[name]}</text>'


def draw(panels, says):
    """The picture. @param panels (title, {library: [(nanoseconds of work in a task, share of the time)]}) of each."""
    width = WIDTH * len(panels)
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" font-family="sans-serif" '
             'font-size="11">', f"<title>{says}</title>", f'<rect width="{width}" height="{HEIGHT}" fill="#fff"/>']
    drawn = [Panel(WIDTH * i, title, curves) for i, (title, curves) in enumerate(panels)]
    for panel in drawn:
        lines += [*panel.axes(), *panel.lines()]
    lines += legend(list(panels[-1][1]), width - RIGHT - 90)
    return "\n".join([*lines, "</svg>", ""])
