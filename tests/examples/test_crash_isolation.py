"""crash_isolation: every task has its own end, named by its number, and the program outlives them all."""

import os
import pathlib
import re
import tempfile

from harness import Skipped, check, check_equal, is_sanitized, run, test, test_each

WORKS, SEGFAULTS, HANGS, LEAKS, THROWS = "works", "segfaults", "hangs", "leaks", "throws"
SCRIPT = (WORKS, SEGFAULTS, WORKS, HANGS, WORKS, LEAKS, WORKS, THROWS)  # of task i: i modulo 8
MEMORY_ENDS = r"ran out of memory: .*|crashed: exit status 1; last words: std::bad_alloc"


def collatz_steps(n):
    steps = 0
    while n != 1:
        n = 3 * n + 1 if n % 2 else n // 2
        steps += 1
    return steps


def expected_line(task):
    """The regular expression that the task's line must match."""
    return f"task {task} (?:" + {
        WORKS: f"worked: {collatz_steps(task + 1)} steps",
        SEGFAULTS: f"crashed: signal 11; last words: task {task} is about to follow a null pointer",
        HANGS: r"timed out: killed after 3\.00 s",
        LEAKS: MEMORY_ENDS,
        THROWS: f"threw: task {task} does not like its number",
    }[SCRIPT[task % len(SCRIPT)]] + ")"


def check_report(done, count):
    lines = done.stdout.decode().splitlines()
    check_equal(len(lines), count + 2, "lines of output")
    for task in range(count):
        check(re.fullmatch(expected_line(task), lines[task]), f"task {task}: {lines[task]}")
    counts = {ending: int(times) for times, ending in re.findall(r", (\d+) ([a-z ]+)", lines[count])}
    check_equal(sum(counts.values()), count, f"tasks in: {lines[count]}")
    check_equal(counts["worked"], sum(SCRIPT[i % 8] == WORKS for i in range(count)), f"worked, in: {lines[count]}")
    check_equal(lines[-1], "afterwards, 1000 more tasks worked: at most 178 steps", "last line")


def isolate(*arguments, prefix=()):
    if is_sanitized("crash_isolation"):
        raise Skipped("sanitizers have their own ideas of null pointers and memory")
    return run("crash_isolation", "--time-limit", "3000", *arguments, prefix=prefix)  # a generous limit: slow machines


@test_each(("--n-jobs", "2"), ("--n-jobs", "1"), ("--n-jobs", "5"), ("--backend", "loky"))
def reports(arguments):
    """each of 16 tasks is reported with its own end"""
    done = isolate("--tasks", "16", *arguments)
    check_report(done, 16)
    for task in (1, 9):
        line = f"task {task} is about to follow a null pointer"
        check_equal(done.stderr.decode().splitlines().count(line), 1, f"'{line}' on stderr")


@test
def all_at_once():
    """as many workers as tasks"""
    check_report(isolate("--tasks", "24", "--n-jobs", "24"), 24)


@test
def leaves_nothing():
    """no worker process outlives the program"""
    with tempfile.TemporaryDirectory(prefix="joblot-examples-") as folder:
        mark = pathlib.Path(folder) / "mark"  # inherited by all workers, by the environment
        isolate("--tasks", "8", prefix=("env", f"CRASH_ISOLATION_TEST={mark}"))
        left = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.fsencode(mark) in pathlib.Path(f"/proc/{pid}/environ").read_bytes():
                    left.append(pid)
            except OSError:  # it has ended meanwhile, or is somebody else's
                continue
        check_equal(left, [], "processes that are left")


@test_each("threads", "threading", "sequential")
def refuses(backend):
    """a backend that cannot kill is refused"""
    done = run("crash_isolation", "--backend", backend, expect=2)
    check_equal(done.stdout, b"", "stdout")
    message = done.stderr.decode()
    check(message.startswith("crash_isolation: ") and f"--backend {backend}" in message and "processes" in message,
          f"message: {message}")
