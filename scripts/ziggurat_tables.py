#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Writes include/joblot/random/ziggurat_tables.hpp; with --check, says whether it is what this would write.

Layers of equal area under a falling density f, from the tail's edge r to 0 (Marsaglia, Tsang: "The ziggurat method for
generating random variables", J. Stat. Softw. 5 (2000)). Computed with 36 digits, so that every machine writes the same.
"""
import pathlib
from decimal import Decimal, getcontext

import generated

LAYERS = 256
FILE = pathlib.Path(__file__).resolve().parent.parent / "include/joblot/random/ziggurat_tables.hpp"


def tail_area_normal(r):
    """The integral of exp(-t^2/2) from r to infinity: a continued fraction."""
    term = r
    for k in range(300, 0, -1):
        term = r + k / term
    return (-r * r / 2).exp() / term


class Normal:
    name = "normal"
    low, high = Decimal("3.6"), Decimal("3.7")

    @staticmethod
    def f(x):
        return (-x * x / 2).exp()

    @staticmethod
    def inverse(y):
        return (-2 * y.ln()).sqrt()

    tail = staticmethod(tail_area_normal)


class Exponential:
    name = "exponential"
    low, high = Decimal("7.6"), Decimal("7.8")

    @staticmethod
    def f(x):
        return (-x).exp()

    @staticmethod
    def inverse(y):
        return -y.ln()

    @staticmethod
    def tail(r):
        return (-r).exp()


def edges(density, r):
    """The right edges of the layers, from the base on; None where r is too small for so many."""
    area = r * density.f(r) + density.tail(r)
    x = [area / density.f(r), r]
    while len(x) < LAYERS:
        y = density.f(x[-1]) + area / x[-1]
        if y >= 1:
            return None
        x.append(density.inverse(y))
    top = density.f(x[-1]) + area / x[-1]  # is 1 for the right r
    return x + [Decimal(0)], top


def solved(density):
    low, high = density.low, density.high
    for _ in range(115):
        middle = (low + high) / 2
        found = edges(density, middle)
        if found is None or found[1] > 1:
            low = middle
        else:
            high = middle
    return edges(density, high)[0]


def rows(values):
    lines, line = [], "   "
    for value in values:
        if len(line) + len(value) + 2 > 118:
            lines.append(line)
            line = "   "
        line += f" {value},"
    return "\n".join(lines + [line])


def table(density):
    x = solved(density)
    two53 = Decimal(2) ** 53
    widths = [float(v / two53).hex() for v in x[:LAYERS]]
    inside = [f"{int(x[i + 1] / x[i] * two53)}U" for i in range(LAYERS)]
    heights = [float(density.f(v)).hex() for v in x]
    heights[LAYERS] = "1.0"
    return f"""inline constexpr ziggurat {density.name}_ziggurat{{
    {float(x[1]).hex()},
    {{{{
{rows(widths)}
    }}}},
    {{{{
{rows(inside)}
    }}}},
    {{{{
{rows(heights)}
    }}}}}};
"""


def text():
    getcontext().prec = 36
    return f"""// SPDX-License-Identifier: BSL-1.0
// Tables of the ziggurat method. Written by scripts/ziggurat_tables.py: change that.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

// clang-format off
namespace joblot::detail {{

/// {LAYERS} layers of equal area under a density. Layer 0 is the base, with the tail; others are boxes, the higher the
/// narrower.
struct ziggurat {{
    static constexpr std::size_t layers = {LAYERS};

    double edge; ///< where the tail begins
    std::array<double, layers> width;         ///< of layer i, times 2^-53
    std::array<std::uint64_t, layers> inside; ///< numbers of 53 bits below it, times width[i], are under the density
    std::array<double, layers + 1> height;    ///< density at the right edge of layer i
}};

{table(Normal)}
{table(Exponential)}
}} // namespace joblot::detail
// clang-format on
"""


if __name__ == "__main__":
    generated.write_or_check(FILE, text())
