#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Measures joblot's worker processes against Python's joblib with loky and prints the table of ratios in Markdown.

One command does all: it builds bench/processes/, runs every case in rounds, joblot and loky taking turns, and compares.
Each measurement is a process of its own. Python's joblib and numpy must be there:

    python3 -m venv build/venv && build/venv/bin/pip install joblib numpy

How to read the table: times are medians over the rounds (of the median over the repetitions in a process). `ratio` is
loky's number to joblot's in the same round, median over the rounds, quartiles in brackets: on a noisy machine they say
what the ratio is worth. "within noise" is a target that is missed by the median, but not in the better quarter of the
rounds. Time to import Python's modules is not counted. The second table, `crossover`, compares joblot with itself:
blocks of memory sent through the socket and through shared memory.
"""

import argparse
import pathlib
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile

import machine
from run_threads import human, newest, quartiles

SOURCES = machine.ROOT / "bench" / "processes"
INCLUDE = machine.ROOT / "include"
FLAGS = "-std=c++20 -O3 -DNDEBUG"
LOKY = "import sys; sys.path.insert(0, sys.argv.pop(1)); import loky_peer; loky_peer.main()"
ARRAY = 8_000_000
median = statistics.median


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="3 rounds, fewer tasks: a look, not a result")
    parser.add_argument("--rounds", type=int, help="rounds over joblot and loky (default 7, with --quick 3)")
    parser.add_argument("--case", action="append", choices=[*GROUPS, "crossover"], help="only this; may be repeated")
    parser.add_argument("--compiler", default="g++", help="default %(default)s")
    parser.add_argument("--flags", default=FLAGS, help="default %(default)r")
    parser.add_argument("--build-dir", type=pathlib.Path, default=machine.ROOT / "build" / "bench")
    parser.add_argument("--python", type=pathlib.Path, default=machine.ROOT / "build" / "venv" / "bin" / "python",
                        help="one that has joblib and numpy (default: that of build/venv)")
    options = parser.parse_args()
    options.rounds = options.rounds or (3 if options.quick else 7)
    return options


# ---- building and running the programs ------------------------------------------------------------------------------

def compile_program(options, source, program, include):
    newest_source = max(newest(INCLUDE), newest(SOURCES), source.stat().st_mtime)
    command = [options.compiler, *shlex.split(options.flags), f"-I{include}", str(source), "-o", str(program)]
    command.append("-pthread")
    stamp = program.with_suffix(".command")
    current = stamp.exists() and stamp.read_text() == shlex.join(command)
    if current and program.exists() and program.stat().st_mtime > newest_source:
        return program
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{source} does not compile:\n{done.stderr[:2000]}")
    stamp.write_text(shlex.join(command))
    return program


def headers_with_threshold(options, name, threshold):
    """A copy of the headers in which blocks from `threshold` bytes on go through shared memory."""
    copy = options.build_dir / f"include_{name}"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(INCLUDE, copy)
    header = copy / "joblot" / "process" / "arena.hpp"
    text, count = re.subn(r"(size_t shared_from = )[^;]+;", rf"\g<1>{threshold};", header.read_text())
    if count != 1:
        sys.exit(f"{header}: the constant `shared_from` is not where it was")
    header.write_text(text)
    return copy


def run(command):
    """The lines of numbers that a command prints."""
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"failed with status {done.returncode}: {shlex.join(map(str, command))}")
    return [[float(number) for number in line.split()] for line in done.stdout.splitlines()]


def turns(commands, rounds, prepare=lambda: []):
    """name -> one result (lines of numbers) per round; who begins changes from round to round.

    `prepare` gives further words for each run.
    """
    results = {name: [] for name in commands}
    for turn in range(rounds):
        for name in list(commands)[::-1 if turn % 2 else 1]:
            results[name].append(run([*commands[name], *prepare()]))
    return results


def python_versions(python):
    code = "import joblib, numpy, sys; print(sys.version.split()[0], joblib.__version__, numpy.__version__)"
    try:
        done = subprocess.run([str(python), "-c", code], capture_output=True, text=True)
    except OSError:
        done = None
    if done is None or done.returncode != 0:
        sys.exit(f"{python} has no joblib or no numpy; install them:\n"
                 "    python3 -m venv build/venv && build/venv/bin/pip install joblib numpy")
    return done.stdout.split()


# ---- comparing -------------------------------------------------------------------------------------------------------

def size(value):
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(value) >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value:.0f} bytes"


def ratio_cells(ratios, target, at_least=True):
    """The last three cells of a row."""
    low, high = quartiles(ratios)
    ratio, sign = median(ratios), 1 if at_least else -1
    cells = [f"{ratio:.3g} [{low:.3g}, {high:.3g}]"]
    if target is None:
        return cells + ["-", "-"]
    met = "yes" if sign * ratio >= sign * target else (
        "within noise" if sign * (high if at_least else low) >= sign * target else "no")
    return cells + [f"{'>=' if at_least else '<='} {target:g}", met]


def compare(case, ours, theirs, target, show=human):
    """A row, from one number per round of each: the less the better."""
    ratios = [b / a for a, b in zip(ours, theirs)]
    return [case, show(median(ours)), show(median(theirs)), *ratio_cells(ratios, target)]


def column(per_round, index=0):
    """One number per round: the median of a column of each result."""
    return [median(line[index] for line in result) for result in per_round]


# ---- the cases -------------------------------------------------------------------------------------------------------

class Bench:
    def __init__(self, options, program):
        self.options, self.program = options, program

    def both(self, *words, loky=None, **more):
        """`words` for both; `loky`, if given, in place of them for loky."""
        commands = {"joblot": [self.program, *words],
                    "loky": [self.options.python, "-c", LOKY, SOURCES, *(loky or words)]}
        return turns(commands, self.options.rounds, **more)

    def cold(self):
        """A fresh program's first call, from its begin to its results; the imports of Python are done by then."""
        times = self.both("cold", "--workers", 2)
        for index, what, target in ((0, "first result", 10), (1, "a result of each", None)):
            yield compare(f"cold start of 2 workers to {what}", column(times["joblot"], index),
                          column(times["loky"], index), target)

    def trivial(self):
        """Of tasks that multiply an integer by 0.5; the workers are there already."""
        few, many = (2_000, 100_000) if self.options.quick else (20_000, 1_000_000)
        words = ["trivial", "--tasks", few, "--batch", 1]
        times = self.both(*words, "--reps", 5, loky=[*words, "--reps", 1])
        yield compare(f"{few} trivial tasks, batch_size = 1", column(times["joblot"]), column(times["loky"]), 10)
        words = ["trivial", "--tasks", many]
        times = self.both(*words, "--reps", 5, loky=[*words, "--reps", 1])
        yield compare(f"{many} trivial tasks, batch_size auto", column(times["joblot"]), column(times["loky"]), 20)

    def array(self):
        """Tasks that add up an array of 8 MB, each its own, made beforehand. Time per task."""
        words = ["argument", "--tasks", 32, "--bytes", ARRAY, "--reps", 3]
        commands = {how: [self.program, *words, "--how", how] for how in ("vector", "span", "broadcast")}
        loky = [self.options.python, "-c", LOKY, SOURCES, *words]
        commands |= {"loky": loky, "loky same": [*loky, "--how", "same"]}
        times = {name: column(result) for name, result in turns(commands, self.options.rounds).items()}
        yield compare("8 MB argument per task, as a vector", times["vector"], times["loky"], 4)
        yield compare("8 MB argument per task, in place (span)", times["span"], times["loky"], 4)
        yield compare("the same 8 MB for every task (broadcast)", times["broadcast"], times["loky same"], None)

    def read(self):
        """The same with one worker, against memcpy in the same program while nothing else runs in it: of one array
        again and again, as the target means it, and of the tasks' own arrays in turn, which no cache can hold."""
        words = ["read", "--tasks", 32, "--bytes", ARRAY, "--workers", 1, "--reps", 5]
        times = turns({"joblot": [self.program, *words]}, self.options.rounds)["joblot"]
        task, reading, hot, own = (column(times, index) for index in range(4))
        for case, ours, peer, target in (("whole task; peer: memcpy", task, hot, 3),
                                         ("whole task; peer: memcpy of the tasks' arrays", task, own, None),
                                         ("reading it alone; peer: memcpy", reading, hot, 3)):
            ratios = [a / b for a, b in zip(ours, peer)]
            yield [f"8 MB span, 1 worker: {case}", human(median(ours)), human(median(peer)),
                   *ratio_cells(ratios, target, at_least=False)]

    def meeting(self):
        """Words that name a fresh folder where the workers wait for each other."""
        return ["--meeting", tempfile.mkdtemp(dir=self.options.meetings)]

    def broadcast(self):
        """By how much the workers' memory grows when both have read 1 GB that was given to all."""
        amount = 100_000_000 if self.options.quick else 1_000_000_000
        found = self.both("broadcast", "--bytes", amount, "--workers", 2, prepare=self.meeting)
        for index, what in ((2, "own"), (1, "proportional")):
            ours, theirs = (column(found[name], index) for name in ("joblot", "loky"))
            share = median(ours) / amount
            judged = ["< 5 %", "yes" if share < 0.05 else "no"] if what == "own" else ["-", "-"]
            yield [f"{size(amount)} broadcast, growth of a worker's {what} memory", size(median(ours)),
                   size(median(theirs)), f"{share:.1%} of it", *judged]
        times = self.both("first_use", "--bytes", amount, "--workers", 2, prepare=self.meeting)
        yield compare(f"{size(amount)} broadcast, to its first use in 2 workers", column(times["joblot"]),
                      column(times["loky"]), 1 / 0.9)

    def memory(self):
        """Of a worker that has run a trivial task."""
        found = self.both("memory", "--workers", 2, prepare=self.meeting)
        for index, what in ((2, "own"), (1, "proportional"), (0, "resident")):
            yield compare(f"{what} memory of an idle worker", column(found["joblot"], index),
                          column(found["loky"], index), None, size)


GROUPS = {"cold": Bench.cold, "trivial": Bench.trivial, "array": Bench.array, "read": Bench.read,
          "broadcast": Bench.broadcast, "memory": Bench.memory}


# ---- socket or shared memory -----------------------------------------------------------------------------------------

def crossover(options):
    """Rows of the second table, and the sentence below it."""
    commands = {}
    for name, threshold in (("socket", "~std::size_t{0}"), ("shared", "1")):
        include = headers_with_threshold(options, name, threshold)
        program = options.build_dir / f"processes_crossover_{name}"
        program.unlink(missing_ok=True)  # its headers are new
        compile_program(options, SOURCES / "crossover.cpp", program, include)
        for in_flight in (1, 2):
            commands[name, in_flight] = [program, "--in-flight", in_flight, "--reps", 3]
    results = turns(commands, options.rounds)
    sizes = [int(line[0]) for line in results["socket", 1][0]]
    rows, pairs = [], []
    for i, block in enumerate(sizes):
        row, ratios = [f"{block >> 10} KiB"], []
        for in_flight in (1, 2):
            socket, shared = ([r[i][1] for r in results[name, in_flight]] for name in ("socket", "shared"))
            ratios.append([a / b for a, b in zip(socket, shared)])
            row += [human(median(socket)), human(median(shared)), ratio_cells(ratios[-1], None)[0]]
        rows.append(row)
        pairs.append(ratios)
    by_median = smallest_from(sizes, [all(median(r) > 1 for r in ratios) for ratios in pairs])
    surely = smallest_from(sizes, [all(quartiles(r)[0] > 1 for r in ratios) for ratios in pairs])
    return rows, f"Shared memory is faster from {by_median} on by the medians, from {surely} on by the lower quartiles."


def smallest_from(sizes, holds):
    """The smallest size from which on it holds for all."""
    found = [block for i, block in enumerate(sizes) if all(holds[i:])]
    return f"{found[0] >> 10} KiB" if found else "none of these sizes"


def print_crossover(options):
    rows, sentence = crossover(options)
    print("\nTime of a block's way to another process, which adds it up, and of the answer, one block at a time or the "
          "next one\nsent before the answer has come:\n")
    ratio = "ratio [quartiles]"
    machine.print_table(["block", "socket", "shared memory", ratio, "socket, 2 under way",
                         "shared memory, 2 under way", ratio], rows)
    print(f"\n{sentence}")


# ---- all of it -------------------------------------------------------------------------------------------------------

def print_head(options):
    python, joblib, numpy = python_versions(options.python)
    print(f"- machine: {machine.describe()}")
    print(f"- compiler: {machine.first_line(options.compiler, '--version')}; flags: {options.flags}")
    print(f"- joblib {joblib} with loky, numpy {numpy}, Python {python}")
    print(f"- 2 workers, {options.rounds} rounds")
    print(f"- command: bench/{' '.join([pathlib.Path(sys.argv[0]).name] + sys.argv[1:])}\n", flush=True)


def print_groups(options, groups):
    program = compile_program(options, SOURCES / "joblot.cpp", options.build_dir / "processes_joblot", INCLUDE)
    bench, rows = Bench(options, program), []
    for group in groups:
        print(f"measuring: {group}", file=sys.stderr, flush=True)
        rows += GROUPS[group](bench)
    machine.print_table(["case", "joblot", "loky", "ratio [quartiles]", "target", "met?"], rows)


def main():
    options = arguments()
    options.build_dir.mkdir(parents=True, exist_ok=True)
    print_head(options)
    groups = [group for group in options.case or GROUPS if group in GROUPS]
    with tempfile.TemporaryDirectory(prefix="joblot-bench-") as folder:
        options.meetings = folder
        if groups:
            print_groups(options, groups)
    if not options.case or "crossover" in options.case:
        print("measuring: crossover", file=sys.stderr, flush=True)
        print_crossover(options)


if __name__ == "__main__":
    main()
