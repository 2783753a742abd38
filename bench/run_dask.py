#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Measures joblot's Dask backend against Python's joblib on Dask and Dask's own Client.map, all on one and the same
stock cluster, and prints tables in Markdown.

One command does all: it builds bench/dask/, starts a scheduler and a worker on loopback, runs every case in rounds, the
three taking turns, and ends the cluster. Python needs dask, distributed, joblib and numpy; this makes such a one:

    scripts/dask_environments.sh 2026.8.0

How to read the tables: times are medians over the rounds (of the median over the repetitions in a process). `ratio` is
the peer's time to joblot's in the same round, median over the rounds, quartiles in brackets. Every program's first
call is not counted: it uploads joblot's executable, and opens Python's connections. Client.map makes one Dask task of
each call, 2 ms each: where the table says "scaled" it ran fewer tasks, and its time is multiplied.

`scheduler` is CPU time of the scheduler's process while the calls ran, divided by the time that they took.
"""

import argparse
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import machine
from run_processes import INCLUDE, column, compile_program, ratio_cells, size, turns
from run_threads import human

SOURCES = machine.ROOT / "bench" / "dask"
FLAGS = "-std=c++20 -O2 -DNDEBUG"
median = statistics.median
PEERS = ("joblib", "map")
NAMES = {"joblot": "joblot", "joblib": "joblib on Dask", "map": "`Client.map`"}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="2 rounds, fewer tasks: a look, not a result")
    parser.add_argument("--rounds", type=int, help="rounds over the three (default 5, with --quick 2)")
    parser.add_argument("--case", action="append", choices=list(TABLES), help="only this table; may be repeated")
    parser.add_argument("--compiler", default="g++", help="default %(default)s")
    parser.add_argument("--flags", default=FLAGS, help="default %(default)r")
    parser.add_argument("--build-dir", type=pathlib.Path, default=machine.ROOT / "build" / "bench")
    parser.add_argument("--python", type=pathlib.Path,
                        default=machine.ROOT / "build" / "dask-2026.8.0" / "bin" / "python",
                        help="one that has dask, distributed, joblib and numpy (default: that of build/dask-2026.8.0)")
    options = parser.parse_args()
    options.rounds = options.rounds or (2 if options.quick else 5)
    return options


# ---- the cluster -----------------------------------------------------------------------------------------------------

class Cluster:
    """A stock scheduler and one stock worker with `threads` threads, on loopback. A context manager."""

    def __init__(self, python, threads):
        self.python, self.threads, self.children = python, threads, []

    def __enter__(self):
        self.stack = contextlib.ExitStack()
        self.folder = self.stack.enter_context(tempfile.TemporaryDirectory(prefix="joblot-bench-"))
        self.log = self.stack.enter_context(open(pathlib.Path(self.folder) / "log", "w", encoding="utf-8"))
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def start(self):
        file = pathlib.Path(self.folder) / "scheduler.json"
        self.child("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", file)
        self.child("dask_worker", "--scheduler-file", file, "--nthreads", self.threads, "--nworkers", 1,
                   "--local-directory", self.folder, "--no-dashboard", "--host", "127.0.0.1")
        self.scheduler = self.children[0].pid
        code = ("import sys; from dask.distributed import Client; c = Client(scheduler_file=sys.argv[1]); "
                "c.wait_for_workers(1, timeout=60)")
        subprocess.run([self.python, "-c", code, file], check=True, stderr=self.log, timeout=120)
        self.address = json.loads(file.read_text())["address"]

    def child(self, module, *words):
        command = [str(self.python), "-m", f"distributed.cli.{module}", *map(str, words)]
        self.children.append(subprocess.Popen(command, stdout=self.log, stderr=self.log))

    def __exit__(self, *error):
        for child in reversed(self.children):
            child.terminate()
        for child in self.children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(10)
            child.kill()
            child.wait()
        self.stack.close()


def versions(python):
    code = ("import sys, distributed, joblib, numpy; "
            "print(sys.version.split()[0], distributed.__version__, joblib.__version__, numpy.__version__)")
    try:
        done = subprocess.run([str(python), "-c", code], capture_output=True, text=True)
    except OSError:
        done = None
    if done is None or done.returncode != 0:
        sys.exit(f"{python} lacks dask, distributed, joblib or numpy. This makes a Python that has them:\n"
                 "    scripts/dask_environments.sh 2026.8.0")
    return done.stdout.split()


# ---- measuring -------------------------------------------------------------------------------------------------------

class Bench:
    def __init__(self, options, program):
        self.options, self.program = options, program

    def measure(self, cluster, words, who=("joblot", *PEERS), **own_words):
        """name -> per round, the lines (seconds, CPU seconds of the scheduler) of a case; `own_words` by name."""
        common = ["--scheduler", cluster.address, "--watched", cluster.scheduler]
        commands = {}
        for name in who:
            program = [self.program] if name == "joblot" else [self.options.python, SOURCES / "peer.py"]
            commands[name] = [*program, *own_words.get(name, words), *common]
            if name != "joblot":
                commands[name] += ["--peer", name]
        return turns(commands, self.options.rounds)

    def row(self, case, found, targets=(None, None), factors=(1, 1), more=()):
        """One row: times of the three, joblot's ratio to each peer, and what the targets say."""
        ours = column(found["joblot"])
        cells = [case, human(median(ours))]
        tail = []
        for peer, target, factor in zip(PEERS, targets, factors):
            if peer not in found:
                cells.append("-")
                tail += ["-", "-", "-"]
                continue
            theirs = [factor * seconds for seconds in column(found[peer])]
            cells.append(human(median(theirs)) + (" (scaled)" if factor != 1 else ""))
            tail += ratio_cells([b / a for a, b in zip(ours, theirs)], target)
        return cells + tail + list(more)


HEAD = ["case", "joblot", "joblib on Dask", "`Client.map`", "joblib / joblot", "target", "met?", "map / joblot",
        "target", "met?"]


def share(lines_per_round):
    """The scheduler's share of the time."""
    return median([sum(line[1] for line in lines) / sum(line[0] for line in lines) for lines in lines_per_round])


def peers(bench):
    """The three on one cluster of two threads."""
    options = bench.options
    rows, few = [], 1000 if options.quick else 5000
    many = 20_000 if options.quick else 100_000
    with Cluster(options.python, 2) as cluster:
        words = ["trivial", "--tasks", many, "--reps", 3]
        found = bench.measure(cluster, words, joblib=[*words[:-1], 1], map=["trivial", "--tasks", few, "--reps", 1])
        rows.append(bench.row(f"{many} trivial tasks", found, (20, 200), (1, many / few)))
        found = bench.measure(cluster, ["trivial", "--tasks", 1, "--reps", 11])
        rows.append(bench.row("a call of one task", found))
        used = {}
        for kind in ("sleep", "busy"):
            found = bench.measure(cluster, [kind, "--tasks", 1000, "--micros", 10_000, "--reps", 1])
            rows.append(bench.row(f"1000 tasks of 10 ms ({'asleep' if kind == 'sleep' else 'busy'})", found))
            used[kind] = {name: median([5.0 / seconds for seconds in column(found[name])]) for name in found}
    machine.print_table(HEAD, rows)
    print("\nOf the workers' time, 1000 tasks of 10 ms on two threads used (the target is 95 %):\n")
    machine.print_table(["tasks", *NAMES.values()], [
        [("asleep" if kind == "sleep" else "busy"), *(f"{used[kind][name]:.1%}" for name in NAMES)] for kind in used])


def threads(bench):
    """Throughput against the number of the worker's threads, joblot and joblib."""
    options, rows = bench.options, []
    tasks = 400 if options.quick else 2000
    many = 20_000 if options.quick else 100_000
    for count in (1, 2, 4, 8):
        with Cluster(options.python, count) as cluster:
            asleep = bench.measure(cluster, ["sleep", "--tasks", tasks, "--micros", 10_000, "--reps", 1],
                                   ("joblot", "joblib"))
            nothing = bench.measure(cluster, ["trivial", "--tasks", many, "--reps", 3], ("joblot",))
        ours, theirs = (median(column(asleep[name])) for name in ("joblot", "joblib"))
        ideal = tasks * 0.01 / count
        rows.append([count, f"{tasks / ours:.0f}", f"{ideal / ours:.1%}", f"{tasks / theirs:.0f}",
                     f"{ideal / theirs:.1%}", f"{many / median(column(nothing['joblot'])):.0f}"])
    print(f"Tasks per second: {tasks} tasks that sleep for 10 ms, and {many} that do nothing:\n")
    machine.print_table(["threads", "joblot, asleep", "of the ideal", "joblib, asleep", "of the ideal",
                         "joblot, trivial"], rows)


def payload(bench):
    """Bytes per second of arguments, and of results."""
    options, rows = bench.options, []
    total = 16_000_000 if options.quick else 64_000_000
    with Cluster(options.python, 2) as cluster:
        for bytes_each in (1_000, 10_000, 100_000, 1_000_000, 8_000_000):
            tasks = min(max(total // bytes_each, 4), 4000)
            row = [size(bytes_each), tasks]
            for case in ("argument", "result"):
                found = bench.measure(cluster, [case, "--tasks", tasks, "--bytes", bytes_each, "--reps", 1],
                                      ("joblot", "joblib"))
                ours, theirs = column(found["joblot"]), column(found["joblib"])
                row += [f"{tasks * bytes_each / 1e6 / median(times):.3g} MB/s" for times in (ours, theirs)]
                row.append(ratio_cells([b / a for a, b in zip(ours, theirs)], None)[0])
            rows.append(row)
    print("Arguments (each task has an array of its own, and adds it up) and results (each task makes one):\n")
    machine.print_table(["bytes", "tasks", "arguments, joblot", "joblib", "ratio [quartiles]", "results, joblot",
                         "joblib", "ratio [quartiles]"], rows)


def scheduler(bench):
    """What a Dask task costs the scheduler, and its share of the time of real calls."""
    options, rows, cost = bench.options, [], None
    single = 500 if options.quick else 2000
    with Cluster(options.python, 2) as cluster:
        cases = [(f"{single} batches of one trivial task", single,
                  ["trivial", "--tasks", single, "--batch", 1, "--reps", 1]),
                 ("100000 trivial tasks", None, ["trivial", "--tasks", 100_000, "--reps", 3]),
                 ("1000 tasks of 10 ms, asleep", None, ["sleep", "--tasks", 1000, "--micros", 10_000, "--reps", 1])]
        for case, dask_tasks, words in cases:
            found = bench.measure(cluster, words, ("joblot",))["joblot"]
            seconds = median(column(found))
            cpu = median(column(found, 1))
            rows.append([case, human(seconds), f"{share(found):.1%}",
                         f"{cpu / dask_tasks * 1e3:.2f} ms" if dask_tasks else "-",
                         f"{seconds / dask_tasks * 1e3:.2f} ms" if dask_tasks else "-"])
            if dask_tasks:
                cost = cpu / dask_tasks
    machine.print_table(["case", "time", "scheduler", "its CPU time per batch", "time per batch"], rows)
    print(f"\nAt {cost * 1e3:.2f} ms of its time per batch, a scheduler with a core of its own gets through "
          f"{1 / cost:.0f} batches per second.\n1000 threads keep it busy all the time with batches of "
          f"{1000 * cost:.2f} s, and half of the time with batches of {2000 * cost:.2f} s.")


def reductions(bench):
    """Tasks to one number, beside the same tasks whose results nobody wants."""
    tasks = 100_000 if bench.options.quick else 1_000_000
    with Cluster(bench.options.python, 2) as cluster:
        common = ["--tasks", tasks, "--reps", 3, "--scheduler", cluster.address, "--watched", cluster.scheduler]
        found = turns({kind: [bench.program, kind, *common] for kind in ("reduced", "dropped", "trivial")},
                      bench.options.rounds)
    times = {kind: column(lines) for kind, lines in found.items()}
    rows = [[f"{tasks} tasks to one number", human(median(times["reduced"])), "-"]]
    for kind, label in (("dropped", "the same, without results"), ("trivial", "the same, with a result each")):
        rows.append([label, human(median(times[kind])),
                     ratio_cells([a / b for a, b in zip(times["reduced"], times[kind])], None)[0]])
    machine.print_table(["case", "time", "time to one number / this [quartiles]"], rows)


TABLES = {"peers": peers, "reductions": reductions, "threads": threads, "payload": payload, "scheduler": scheduler}


def main():
    options = arguments()
    options.build_dir.mkdir(parents=True, exist_ok=True)
    python, dask, joblib, numpy = versions(options.python)
    print(f"- machine: {machine.describe()}")
    print(f"- compiler: {machine.first_line(options.compiler, '--version')}; flags: {options.flags}")
    print(f"- distributed {dask}, joblib {joblib}, numpy {numpy}, Python {python}; scheduler, worker and caller on "
          "this machine")
    print(f"- {options.rounds} rounds")
    print(f"- command: bench/{' '.join([pathlib.Path(sys.argv[0]).name] + sys.argv[1:])}", flush=True)
    program = compile_program(options, SOURCES / "joblot.cpp", options.build_dir / "dask_joblot", INCLUDE)
    bench = Bench(options, program)
    for name in options.case or TABLES:
        print(f"measuring: {name}", file=sys.stderr, flush=True)
        start = time.monotonic()
        print(f"\n### {name}\n", flush=True)
        TABLES[name](bench)
        print(f"{name}: {time.monotonic() - start:.0f} s, load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
