"""shared_model: the same answers on every backend, and one copy of the table for all worker processes."""

import os
import re

from harness import Skipped, check, check_equal, run, test_each

MEGABYTES = 24
ROW = re.compile(r"(this one|worker \d+) +([\d.]+) +([\d.]+) +([\d.]+)")


def search(*arguments):
    """The answers; the memory of this process and its workers as (resident, proportional, shared); the last line."""
    if not os.path.exists("/proc/self/smaps_rollup"):
        raise Skipped("this system does not tell proportional set sizes")
    done = run("shared_model", "--megabytes", str(MEGABYTES), *arguments)
    lines = done.stdout.decode().splitlines()
    answers = [line for line in lines if line.startswith("query ")]
    rows = [ROW.fullmatch(line) for line in lines]
    rows = [(row[1], *map(float, row.groups()[1:])) for row in rows if row]
    check_equal(len(lines), len(answers) + len(rows) + 2, "lines of output")
    check_equal(rows[0][0], "this one", "first row")
    return answers, rows[0], rows[1:], lines[-1]


@test_each("1", "2", "4")
def one_copy(workers):
    """all workers together have one copy of the table, and each of them the whole of it"""
    answers, _, rows, last = search("--n-jobs", workers, "--queries", "16")
    check_equal(len(answers), 16, "answers")
    check(1 <= len(rows) <= int(workers), f"{len(rows)} workers reported")
    for who, resident, _, _ in rows:
        check(resident > MEGABYTES, f"{who} has {resident} MB: not the whole table")
    shared = sum(row[3] for row in rows)
    check(0.99 * MEGABYTES <= shared <= 1.1 * MEGABYTES, f"{shared} MB of shared memory for a table of {MEGABYTES} MB")
    match = re.fullmatch(r"(\d+) workers share ([\d.]+) MB: ([\d.]+) times the table", last)
    check(match and int(match[1]) == len(rows), f"last line: {last}")
    check(0.99 <= float(match[3]) <= 1.1, f"last line: {last}")


@test_each("threads", "sequential")
def in_this_process(backend):
    """without other processes the table is where it was made"""
    answers, (_, resident, _, shared), rows, last = search("--backend", backend)
    check_equal(rows, [], "workers")
    check(resident > MEGABYTES and shared < 1, f"{resident} MB resident, {shared} MB of it shared")
    check(last.startswith("no other process"), f"last line: {last}")
    check_equal(answers, search()[0], "answers, as from worker processes")
