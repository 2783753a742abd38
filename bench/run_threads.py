#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Measures joblot's threads against oneTBB and OpenMP and prints the table of ratios in Markdown.

One command does all: it builds one program per library (bench/threads/), finds how many iterations of the kernel make
a nanosecond, runs every case in rounds, the libraries taking turns in a changing order, and compares. A library is a
process of its own, so that no spinning thread of one is on a core while another is timed.

How to read the table: the time of a library is the median over the rounds (of the median over the repetitions in its
process). `ratio` is joblot's time to that of the better of the two others, in the same round, median over the rounds;
its quartiles follow in brackets: on a noisy machine they say what the ratio is worth. "within noise" is a target that
is missed by the median, but not in the better quarter of the rounds. Result vectors are allocated
inside the measured call by every library, because joblot's call returns one.
"""

import argparse
import pathlib
import shlex
import statistics
import subprocess
import sys

import machine
import metg
import picture

THREADS = machine.ROOT / "bench" / "threads"
FLAGS = "-std=c++20 -O3 -DNDEBUG"
LINK = {"joblot": ["-pthread"], "tbb": ["-ltbb", "-pthread"], "openmp": ["-fopenmp", "-pthread"]}
TYPICAL = statistics.median  # of the repetitions in a process, and of the rounds; --best sets it to min
METG_SWEEP = [1 << k for k in range(15)]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="3 rounds, shorter runs: a look, not a result")
    parser.add_argument("--rounds", type=int, help="rounds over all libraries (default 9, with --quick 3)")
    parser.add_argument("--case", action="append", choices=sorted(GROUPS), help="only this group; may be repeated")
    parser.add_argument("--best", action="store_true",
                        help="compare the best times in place of the medians: for a machine with other work to do")
    parser.add_argument("--null", action="store_true",
                        help="TBB in joblot's place too: how far apart two runs of one program come out here")
    parser.add_argument("--compiler", default="g++", help="default %(default)s")
    parser.add_argument("--flags", default=FLAGS, help="default %(default)r")
    parser.add_argument("--build-dir", type=pathlib.Path, default=machine.ROOT / "build" / "bench")
    parser.add_argument("--workers", type=int, default=machine.cores(), help="threads (default: all cores)")
    parser.add_argument("--picture", type=pathlib.Path, help="where the curves behind METG are drawn, as an SVG")
    options = parser.parse_args()
    if options.best:
        global TYPICAL
        TYPICAL = min
    options.rounds = options.rounds or (3 if options.quick else 9)
    return options


# ---- building and running the programs ------------------------------------------------------------------------------

def newest(folder):
    return max((file.stat().st_mtime for file in folder.rglob("*.hpp")), default=0)


def build(options):
    """Builds what is out of date; returns the programs that there are. A peer that does not compile is left out."""
    options.build_dir.mkdir(parents=True, exist_ok=True)
    headers = max(newest(machine.ROOT / "include"), newest(THREADS))
    built = {}
    for name, link in LINK.items():
        source, program = THREADS / f"{name}.cpp", options.build_dir / f"threads_{name}"
        command = [options.compiler, *shlex.split(options.flags), f"-I{machine.ROOT / 'include'}", str(source)]
        command += ["-o", str(program), *link]
        stamp = program.with_suffix(".command")
        current = stamp.exists() and stamp.read_text() == shlex.join(command)
        if current and program.exists() and program.stat().st_mtime > max(headers, source.stat().st_mtime):
            built[name] = program
            continue
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 0:
            stamp.write_text(shlex.join(command))
            built[name] = program
        else:
            print(f"{name} is left out, it does not compile:\n{done.stderr[:2000]}", file=sys.stderr)
    if len(built) < 2:
        sys.exit("nothing to compare: fewer than two libraries were built")
    return built


def run(program, *words):
    """The lines of numbers that one run of a program prints. What it writes to stderr (progress) is thrown away."""
    command = [str(program), *map(str, words)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    if done.returncode != 0:
        sys.exit(f"failed with status {done.returncode}: {' '.join(command)}")
    return [[float(number) for number in line.split()] for line in done.stdout.splitlines()]


def contestants(built, with_verbose=False):
    """name -> (program, further arguments)"""
    runs = {name: (program, []) for name, program in built.items()}
    if with_verbose and "joblot" in built:
        runs["verbose"] = (built["joblot"], ["--verbose", 10])
    return runs


def rounds(runs, count, *words):
    """name -> one result (lines of numbers) per round; the order of the libraries turns from round to round."""
    results = {name: [] for name in runs}
    names = list(runs)
    for turn in range(count):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            program, extra = runs[name]
            results[name].append(run(program, *words, *extra))
    return results


# ---- comparing -------------------------------------------------------------------------------------------------------

def human(seconds):
    for unit, scale in (("s", 1), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def quartiles(values):
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def verdict(ours, theirs, target):
    """The last three cells of a row, from one number per round of each."""
    ratios = [a / b for a, b in zip(ours, theirs)]
    low, high = quartiles(ratios)
    ratio = min(ours) / min(theirs) if TYPICAL is min else statistics.median(ratios)
    met = "yes" if ratio <= target else ("within noise" if low <= target else "no")
    return [f"{ratio:.3f} [{low:.3f}, {high:.3f}]", f"<= {target:.2f}", met]


def compare(case, ours, tbb, openmp, target):
    """A row of the table from one number per round and library; a library that was not built has no numbers."""
    peers = [values for values in (tbb, openmp) if values]
    shown = [human(TYPICAL(values)) if values else "-" for values in (ours, tbb, openmp)]
    if not ours or not peers:
        return [case, *shown, "-", f"<= {target:.2f}", "-"]
    return [case, *shown, *verdict(ours, min(peers, key=TYPICAL), target)]


def typical_times(results, scale=1.0):
    """name -> one time per round, from the repetitions of each."""
    return {name: [TYPICAL(line[0] for line in result) * scale for result in per_round]
            for name, per_round in results.items()}


# ---- the cases -------------------------------------------------------------------------------------------------------

class Bench:
    def __init__(self, options, built, ns_per_iteration):
        self.options, self.built, self.ns = options, built, ns_per_iteration
        self.common = ["--workers", options.workers]
        self.panels = []  # of the picture; filled by metg

    def iterations(self, nanoseconds):
        return max(1, round(nanoseconds / self.ns))

    def uniform(self):
        """Independent tasks of one size. The number of tasks makes a call take about 50 ms.

        The 80 MB that 1e7 trivial tasks fill come fresh from the kernel in every call, and page faults are most of the
        time; the 16 MB of 2e6 are memory that malloc hands out again, and the loop is.
        """
        sizes = {"0 ns (fresh memory)": 0, "0 ns": 0,
                 "10 ns": 10, "100 ns": 100, "1 µs": 1e3, "10 µs": 1e4, "1 ms": 1e6}
        for label, ns in sizes.items():
            tasks = 5e7 * self.options.workers / ns / (4 if self.options.quick else 1) if ns else 1e7
            tasks = 2_000_000 if label == "0 ns" else max(int(tasks), 40)
            words = ["uniform", "--tasks", tasks, "--iterations", self.iterations(ns) if ns else 0, *self.common]
            words += ["--reps", 15 if label == "0 ns" else 3]
            times = typical_times(rounds(contestants(self.built, True), self.options.rounds, *words))
            for variant, note in (("joblot", ""), ("verbose", ", verbose = 10")):
                yield compare(f"{tasks} tasks of {label}{note}", times.get(variant), times.get("tbb"),
                              times.get("openmp"), 1.05)

    def reductions(self):
        """One value of 1e8 tasks, less with --quick."""
        tasks = 10_000_000 if self.options.quick else 100_000_000
        for kind, label in (("sum", f"sum of {tasks} trivial tasks"), ("histogram", f"histogram of {tasks} samples")):
            times = typical_times(rounds(contestants(self.built), self.options.rounds, kind, "--tasks", tasks,
                                         "--reps", 5, *self.common))
            yield compare(label, times.get("joblot"), times.get("tbb"), times.get("openmp"), 1.05)

    def calls(self):
        """Whole calls of a few tasks of 20 ns."""
        for rest, label in ((0, "back to back"), (0.001, "after 1 ms of rest")):
            for tasks in (2, 10, 100, 1000):
                words = ["call", "--tasks", tasks, "--iterations", self.iterations(20), "--rest", rest, *self.common]
                words += ["--reps", 1 if rest else 3]
                times = typical_times(rounds(contestants(self.built), self.options.rounds, *words), 1e-9)
                yield compare(f"a call of {tasks} tasks of 20 ns, {label}", times.get("joblot"), times.get("tbb"),
                              times.get("openmp"), 1.5)

    def uneven(self):
        """1 in 100 tasks is 100 times longer; time as a ratio to the ideal of the same process."""
        tasks = 10_000 if self.options.quick else 50_000
        for order in ("shuffled", "ascending", "descending"):
            words = ["uneven", "--tasks", tasks, "--iterations", self.iterations(1000), "--order", order, *self.common]
            results = rounds(contestants(self.built), self.options.rounds, *words)
            times = typical_times(results)
            ideal = {name: [TYPICAL(line[1] for line in result) for result in per_round]
                     for name, per_round in results.items()}
            shown = [f"{TYPICAL(times[name]) / TYPICAL(ideal[name]):.3f} x ideal" if name in times else "-"
                     for name in LINK]
            ours = verdict(times["joblot"], ideal["joblot"], 1.05) if "joblot" in times else ["-", "<= 1.05", "-"]
            yield [f"{tasks} uneven tasks, {order}", *shown, *ours]

    def metg(self):
        """METG(50 %), as bench/threads/workload.hpp defines it. The target is TBB's alone."""
        per_worker = {"steps of 1 task per worker": ("metg_steps", 1), "steps of 8 tasks per worker": ("metg_steps", 8),
                      "all tasks in one call": ("metg_flat", 500)}
        seconds = 0.003 if self.options.quick else 0.01
        sweep = ",".join(map(str, METG_SWEEP))
        for label, (kind, width) in per_worker.items():
            words = [kind, "--tasks", width * self.options.workers, "--sweep", sweep, "--seconds", seconds]
            results = rounds(contestants(self.built), self.options.rounds, *words, *self.common)
            curves = metg.efficiencies(results, self.options.workers, METG_SWEEP, TYPICAL)
            self.panels.append((label, {name: [(iterations * self.ns, share) for iterations, share in curve]
                                        for name, curve in curves.items()}))
            found = metg.per_round(results, self.options.workers, METG_SWEEP, TYPICAL)
            row = compare(f"METG(50 %), {label}", found.get("joblot"), found.get("tbb"), None, 1.0)
            row[3] = human(TYPICAL(found["openmp"])) if "openmp" in found else "-"
            yield row


GROUPS = {"uniform": Bench.uniform, "reductions": Bench.reductions, "metg": Bench.metg, "calls": Bench.calls, "uneven": Bench.uneven}


def print_head(options, ns_per_iteration):
    print(f"- machine: {machine.describe()}")
    print(f"- compiler: {machine.first_line(options.compiler, '--version')}; flags: {options.flags}")
    print(f"- oneTBB {machine.tbb_version(options.compiler)}; OpenMP of the compiler, schedule(guided)")
    print(f"- {options.workers} workers, {options.rounds} rounds; one kernel iteration takes {ns_per_iteration:.3f} ns")
    print(f"- command: bench/{' '.join([pathlib.Path(sys.argv[0]).name] + sys.argv[1:])}\n", flush=True)


def main():
    options = arguments()
    built = build(options)
    if options.null:
        built["joblot"] = built["tbb"]
    any_program = next(iter(built.values()))
    calibration = run(any_program, "calibrate", "--workers", options.workers, "--reps", 100)
    ns_per_iteration = min(line[0] for line in calibration)  # anything above it is another program's doing
    print_head(options, ns_per_iteration)
    bench, rows = Bench(options, built, ns_per_iteration), []
    for group in options.case or GROUPS:
        print(f"measuring: {group}", file=sys.stderr, flush=True)
        rows += GROUPS[group](bench)
    ratio = "ratio to the better [quartiles]"
    if options.picture and bench.panels:
        says = "How much of the machine does work, by the size of the tasks"
        options.picture.write_text(picture.draw(bench.panels, says), encoding="utf-8")
    machine.print_table(["case", "joblot", "TBB", "OpenMP", ratio, "target", "met?"], rows)
    print("\nUneven: ratio to the ideal, which is the same tasks dealt out beforehand to bare threads that are awake."
          "\nMETG: the target is TBB's; the smaller the better.")


if __name__ == "__main__":
    main()
