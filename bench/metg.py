# SPDX-License-Identifier: BSL-1.0
"""METG(50 %) from a sweep over task sizes, by the method of Task Bench (see bench/threads/workload.hpp)."""

import collections

THRESHOLD = 0.5
Point = collections.namedtuple("Point", "iterations granularity rate")


def points(lines, workers, typical):
    """One point per iteration count, largest first; `lines` holds (iterations, tasks, seconds) of each repetition,
    of which `typical` picks or computes the one that counts."""
    times = collections.defaultdict(list)
    for iterations, tasks, seconds in lines:
        times[iterations].append(seconds / tasks)
    return [Point(iterations, typical(per_task) * workers, iterations / typical(per_task))
            for iterations, per_task in sorted(times.items(), reverse=True)]


def metg(curve, peak):
    """Seconds: the smallest granularity with an efficiency of at least 50 %, interpolated to just 50 %.

    Where even the smallest tasks are efficient enough it is that point's granularity: an upper bound.
    """
    efficient = [i for i, point in enumerate(curve) if point.rate / peak >= THRESHOLD]
    if not efficient:
        return float("inf")
    i = min(efficient, key=lambda index: curve[index].granularity)
    above = curve[i]
    if i + 1 == len(curve) or curve[i + 1].granularity >= above.granularity:
        return above.granularity
    below = curve[i + 1]
    share = (THRESHOLD - below.rate / peak) / (above.rate / peak - below.rate / peak)
    return below.granularity + share * (above.granularity - below.granularity)


def peak_of(curves, sweep):
    """The best rate that any of the libraries reached with large tasks."""
    large = sorted(sweep)[-4:]
    return max(point.rate for curve in curves.values() for point in curve if point.iterations in large)


def efficiencies(results, workers, sweep, typical):
    """library -> [(iterations in a task, share of the peak)], from all rounds together."""
    curves = {name: points(sum(rounds, []), workers, typical) for name, rounds in results.items()}
    peak = peak_of(curves, sweep)
    return {name: [(point.iterations, point.rate / peak) for point in curve] for name, curve in curves.items()}


def per_round(results, workers, sweep, typical):
    """library -> METG of each round. The peak is the best rate of any library with large tasks in the same round.

    The best of all rounds (`typical` is min) is one curve of the best times, not the best curve: one METG.
    """
    if typical is min:
        results = {name: [sum(rounds, [])] for name, rounds in results.items()}
    found = collections.defaultdict(list)
    for turn in zip(*results.values()):
        curves = {name: points(lines, workers, typical) for name, lines in zip(results, turn)}
        peak = peak_of(curves, sweep)
        for name, curve in curves.items():
            found[name].append(metg(curve, peak))
    return found
