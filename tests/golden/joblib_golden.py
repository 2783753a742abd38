#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Compares joblot's verbose lines with those of Python's own joblib, times masked.

    joblib_golden.py GOLDEN_DRIVER [--verbose]

Both run the same tasks, which complete one after the other. Where joblot differs on purpose, a function below whose
name begins with `we_` says how and why, by turning joblib's lines into the ones that joblot must print: the test
fails when either side changes. Exit status: 0 same, 1 different, 77 joblib is not installed (skipped).
"""

from __future__ import annotations

import argparse
import io
import re
import subprocess
import sys
import time
from dataclasses import dataclass

try:
    import joblib
    from joblib.parallel import _verbosity_filter  # True where joblib says nothing
except ImportError:
    print("joblib_golden.py: skipped, this Python has no joblib")
    sys.exit(77)

JOBS = 2
MODES = ("default", "everything", "sequential")
AHEAD = {"default": 2 * JOBS, "one": 1, "everything": 0}  # tasks, 0 for all


@dataclass(frozen=True)
class Case:
    total: int
    verbose: int
    mode: str  # default, one, everything, sequential
    input: str  # list, view (joblot only: known length, yet read one by one), generator
    failing: int | None = None  # the task from which on all fail

    @property
    def sized(self):
        return self.input != "generator"

    @property
    def sequential(self):
        return self.mode == "sequential"

    def __str__(self):
        text = f"n={self.total} verbose={self.verbose} {self.mode} {self.input}"
        return text if self.failing is None else f"{text} failing={self.failing}"


def counts(text):
    """The numbers of "1-3 5 7": 1 2 3 5 7."""
    numbers = []
    for part in text.split():
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


# The counts that joblib itself prints: (n, verbose): default, everything, sequential.
TABLE = {
    (10, 1): ("10", "10", "10"),
    (10, 5): ("10", "2 5 8 10", "10"),
    (10, 10): ("1 4 10", "1 3 5 7 10", "1 4 7 10"),
    (10, 100): ("1-8 10", "1-8 10", "1-10 10"),
    (20, 5): ("14 20", "1 6 11 16 20", "17 20"),
    (20, 10): ("1 4 9 14 20", "3 6 9 12 15 18 20", "1 4 7 12 17 20"),
    (20, 11): ("1-17 20", "1 3 5 7 9 11 13 15 17 20", "1-20 20"),
    (20, 50): ("1-18 20", "1-18 20", "1-20 20"),
    (100, 1): ("46 100", "100", "49 100"),
    (100, 5): ("14 68 100", "17 38 59 80 100", "17 71 100"),
    (100, 10): ("1 4 9 14 21 28 37 46 57 68 81 94 100", "2 13 24 35 46 57 68 79 90 100",
                "1 4 7 12 17 24 31 40 49 60 71 84 97 100"),
}


def cases():
    for total, verbose in TABLE:
        for mode in MODES:
            for kind in ("list", "view", "generator"):
                yield Case(total, verbose, mode, kind)
    for total in (0, 1, 2, 3, 4, 5):
        for mode in MODES:
            for kind in ("list", "generator"):
                yield Case(total, 10, mode, kind)
    for total in (5, 10):
        yield Case(total, 10, "one", "list")
    yield Case(10, 0, "default", "list")
    for failing in (0, 1, 5):
        for mode in MODES:
            yield Case(10, 100, mode, "list", failing)
            yield Case(10, 10, mode, "generator", failing)


# ---- the two programs


class Streams(io.StringIO):
    """Takes what joblib writes, and which of the two streams it chose."""

    def __init__(self):
        super().__init__()
        self.used = set()

    def named(self, name):
        streams = self

        class Stream:
            def write(self, text):
                streams.used.add(name)
                return streams.write(text)

            def flush(self):
                pass

        return Stream()


class Told(Exception):
    """What a task that was told to fail raises."""


def joblib_lines(case):
    parallel = joblib.Parallel(
        n_jobs=1 if case.sequential else JOBS,
        backend="threading",
        verbose=case.verbose,
        batch_size=1,
        pre_dispatch={"default": "2 * n_jobs", "one": 1, "everything": "all", "sequential": "2 * n_jobs"}[case.mode],
    )
    failing = case.total if case.failing is None else case.failing

    def in_turn(index):
        while not case.sequential and parallel.n_completed_tasks < min(index, failing):
            time.sleep(0.0001)
        # With "all" and no length, joblib's total is what it has dispatched so far: wait until that is everything.
        while case.mode == "everything" and parallel.n_dispatched_tasks < case.total:
            time.sleep(0.0001)
        if index >= failing:
            raise Told

    tasks = (joblib.delayed(in_turn)(i) for i in range(case.total))
    streams, before = Streams(), (sys.stdout, sys.stderr)
    sys.stdout, sys.stderr = streams.named("stdout"), streams.named("stderr")
    try:
        parallel(list(tasks) if case.sized else tasks)
    except (Told, AttributeError):  # the latter where a sequential call with verbose fails: joblib's own bug
        if case.failing is None:
            raise
    finally:
        sys.stdout, sys.stderr = before
    return streams.getvalue().splitlines(), streams.used


def joblot_lines(driver, case):
    command = [driver, str(case.total), str(case.verbose), case.mode, case.input]
    if case.failing is not None:
        command.append(str(case.failing))
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    expected = 0 if case.failing is None else 3
    if done.returncode != expected:
        raise SystemExit(f"{command}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stderr.splitlines(), done.stdout


# ---- lines as data

TIME = r" *[0-9.]+(?:s|min)"
LINE = re.compile(
    r"\[Parallel\(n_jobs=-?\d+\)\]: Done (?P<done> *\d+)(?: out of +\d+ | tasks {6,})\| elapsed: T"
    r"(?: (?P<end>finished|failed|cancelled)| remaining: T)?$"
)


def masked(lines):
    return [re.sub(r"(elapsed|remaining): " + TIME, r"\1: T", line) for line in lines]


def done_of(line):
    found = LINE.match(line)
    return int(found["done"]) if found else None


def is_closing(line):
    found = LINE.match(line)
    return bool(found and found["end"])


def width(case):
    return len(str(case.total)) if case.sized and case.total > 0 else 3


def prefix(case):
    return f"[Parallel(n_jobs={1 if case.sequential else JOBS})]: "


def running_line(case, done, with_total):
    w = width(case)
    if with_total:
        return f"{prefix(case)}Done {done:{w}d} out of {case.total:{w}d} | elapsed: T remaining: T"
    return f"{prefix(case)}Done {done:{w}d} tasks {'':{2 + w}}| elapsed: T"


def closing_line(case, word):
    w = width(case)
    done = case.total if case.failing is None else case.failing
    if case.failing is not None and not case.sized and not knows_total_from_start(case):
        return f"{prefix(case)}Done {done:{w}d} tasks {'':{2 + w}}| elapsed: T {word}"
    return f"{prefix(case)}Done {done:{w}d} out of {case.total:{w}d} | elapsed: T {word}"


def knows_total_from_start(case):
    return case.sized or case.mode == "everything"


# ---- where we differ on purpose, each a function of joblib's lines; applied in this order


def we_name_the_backend_of_sequential_calls_too(lines, case):
    """joblib opens with the backend's line only where it uses a pool."""
    if not case.sequential or case.verbose == 0:
        return lines
    return [f"{prefix(case)}Using backend SequentialBackend with 1 concurrent workers.", *lines]


def we_show_the_remaining_time_whenever_the_total_is_known(lines, case):
    """joblib shows it only once the input is exhausted (T12 of the survey)."""
    if not knows_total_from_start(case):
        return lines
    return [line if is_closing(line) or done_of(line) is None else running_line(case, done_of(line), True)
            for line in lines]


def we_say_the_last_count_once(lines, case):
    """joblib's sequential loop, and a call of one task, print a line for the last task besides (or instead of) the
    finished line. We cannot know that a task was the last one before an input of unknown length has ended."""
    if case.sequential and not case.sized:
        return lines
    return [line for line in lines if is_closing(line) or done_of(line) != case.total or case.failing is not None]


def we_learn_an_unknown_total_when_a_worker_finds_the_end(lines, case):
    """joblib reads 2 * n_jobs tasks ahead and knows the total as many completions before the end. Our workers read
    when they are free: the end is found after the last completion but one, and until then the lines are those of a
    call that is still dispatching. (Where one worker did the last two tasks the end is found after the last one, and
    that one's line comes too: see without_last_count.)"""
    if case.sequential or knows_total_from_start(case) or case.total == 0 or case.verbose == 0:
        return lines
    ahead = AHEAD[case.mode]
    last = min(case.total - 1, case.total if case.failing is None else case.failing)
    opening = [line for line in lines if done_of(line) is None]
    counts = [k for k in range(1, last + 1) if not _verbosity_filter(ahead + k - 1, case.verbose)]
    return opening + [running_line(case, k, False) for k in counts] + [line for line in lines if is_closing(line)]


def we_always_close_with_a_line(lines, case):
    """joblib says nothing when a call fails (a sequential one even prints a line of zero tasks), and no `finished`
    where its tasks fit one batch, where there are none, or with pre_dispatch=1."""
    if case.verbose == 0:
        return lines
    if case.failing is not None:
        kept = [line for line in lines if done_of(line) != 0]
        return [*kept, closing_line(case, "failed")]
    return lines if any(map(is_closing, lines)) else [*lines, closing_line(case, "finished")]


DIFFERENCES = [
    we_name_the_backend_of_sequential_calls_too,
    we_show_the_remaining_time_whenever_the_total_is_known,
    we_say_the_last_count_once,
    we_learn_an_unknown_total_when_a_worker_finds_the_end,
    we_always_close_with_a_line,
]


def check_streams(case, joblib_used, joblot_stdout):
    """Ours is always stderr; joblib moves to stdout at level 50."""
    expected = set() if not joblib_used else {"stdout" if case.verbose >= 50 else "stderr"}
    problems = []
    if joblib_used != expected:
        problems.append(f"joblib wrote to {joblib_used}, not to {expected}")
    if joblot_stdout:
        problems.append(f"joblot wrote to stdout: {joblot_stdout!r}")
    return problems


# ---- the comparison


def without_last_count(lines, case):
    """Leaves out what depends on which thread was faster."""
    if case.sequential or knows_total_from_start(case):
        return lines
    return [line for line in lines if is_closing(line) or done_of(line) != case.total]


def compare(driver, case):
    theirs, used = joblib_lines(case)
    ours, stdout = joblot_lines(driver, case)
    expected = masked(theirs)
    applied = []
    for difference in DIFFERENCES:
        changed = difference(expected, case)
        if changed != expected:
            applied.append(difference.__name__)
        expected = changed
    problems = check_streams(case, used, stdout)
    if (case.total, case.verbose) in TABLE and case.failing is None and case.mode in MODES:
        seen = [done_of(line) for line in masked(theirs) if done_of(line) is not None]
        if seen != counts(TABLE[case.total, case.verbose][MODES.index(case.mode)]):
            problems.append(f"joblib no longer prints the counts of the table, but {seen}")
    if without_last_count(masked(ours), case) != expected:
        problems.append("\n".join(["lines differ", "  joblib:", *theirs, "  expected of joblot:", *expected,
                                   "  joblot:", *ours]))
    return problems, applied, [done_of(line) for line in masked(ours) if done_of(line) is not None]


def main():
    parser = argparse.ArgumentParser(description="Compares joblot's verbose lines with joblib's.")
    parser.add_argument("driver", help="the compiled golden_driver")
    parser.add_argument("--verbose", action="store_true", help="show every case, not only the ones that differ")
    arguments = parser.parse_args()
    print(f"joblib {joblib.__version__} against {arguments.driver}")
    if not joblib.__version__.startswith("1.6"):
        print("note: the expectations were written for joblib 1.6")
    wrong = same = 0
    used_differences = dict.fromkeys((d.__name__ for d in DIFFERENCES), 0)
    for case in cases():
        problems, applied, shown = compare(arguments.driver, case)
        same += not problems and not applied
        wrong += bool(problems)
        for name in applied:
            used_differences[name] += 1
        if arguments.verbose:
            print(f"{'DIFFERENT' if problems else 'ok':9} {case}: {' '.join(map(str, shown))}")
        for problem in problems:
            print(f"DIFFERENT {case}: {problem}")
    total = sum(1 for _ in cases())
    print(f"{total} cases: {same} print joblib's very lines, {total - same - wrong} differ as intended, {wrong} wrong")
    for name, count in used_differences.items():
        print(f"  {count:3} x {name}")
        if count == 0:
            wrong += 1
            print("      never applied: remove it, or find out what joblib changed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
