"""parallel_simple: the squares on stdout, joblib's progress lines on stderr."""

import re
import time

from harness import check, check_equal, is_sanitized, run, test, test_each

SQUARES = "".join(f"{i * i}\n" for i in range(10)).encode()


@test_each(("--n-jobs", "1"), ("--n-jobs", "2"), ("--n-jobs", "-1"), ("--backend", "sequential"),
           ("--backend", "threads"), ("--backend=threading", "--n-jobs=5"), ("--backend", "processes"),
           ("--backend=loky", "--n-jobs=5"), ("--backend=multiprocessing", "--n-jobs=1"))
def results(arguments):
    """results in order"""
    check_equal(run("parallel_simple", *arguments).stdout, SQUARES, "stdout")


@test_each(("threads", "ThreadingBackend"), ("processes", "ProcessBackend"))
def progress_lines(backend):
    """the progress lines of two workers"""
    name, title = backend
    lines = run("parallel_simple", "--backend", name).stderr.decode().splitlines()
    shape = re.compile(r"\[Parallel\(n_jobs=2\)\]: Done +(\d+)(?: tasks| out of +(\d+)) +"
                       r"\| elapsed: +[\d.]+s(?: remaining: +[\d.]+s| finished)?")
    check_equal(lines[0], f"[Parallel(n_jobs=2)]: Using backend {title} with 2 concurrent workers.", "first")
    counts = []
    for line in lines[1:]:
        match = shape.fullmatch(line)
        check(match, f"unexpected line: {line}")
        check(match[2] in (None, "10"), f"wrong total: {line}")
        counts.append(int(match[1]))
    check(len(counts) >= 6, f"too few lines: {lines}")
    check_equal(counts, sorted(counts), "counts")
    check_equal(counts[-1], 10, "last count")
    check(lines[-1].endswith(" finished"), f"last line: {lines[-1]}")
    check_equal(sum("finished" in line for line in lines), 1, "number of lines with 'finished'")


@test_each("threads", "processes")
def is_parallel(backend):
    """ten tasks of 0.1 s take half the time on two workers"""
    def seconds(jobs):
        start = time.monotonic()
        run("parallel_simple", "--backend", backend, "--n-jobs", jobs)
        return time.monotonic() - start

    one, two = seconds("1"), seconds("2")
    check(one >= 1, f"one worker took {one:.2f} s: less than its tasks' sleep")
    if not is_sanitized("parallel_simple"):
        check(two < 0.75 * one, f"two workers took {two:.2f} s, one {one:.2f} s")
