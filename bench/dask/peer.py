# SPDX-License-Identifier: BSL-1.0
"""The cluster benchmarks with Python's joblib on its dask backend (--peer joblib), and with Dask's own Client.map
(--peer map): the same cases as joblot.cpp. Prints a line for each repetition: seconds, and the CPU seconds of the
scheduler meanwhile.
"""

import argparse
import contextlib
import os
import time

import numpy
from dask.distributed import Client


def trivial(i):
    return i * 0.5


def sleeping(i, seconds):
    time.sleep(seconds)
    return i


def busy(i, seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass
    return i


def total(values):
    return float(values.sum())


def make(i, size):
    return numpy.ones(size // 8)


def cpu_seconds(process):
    """User and system time of a process; 0 for no process."""
    if not process:
        return 0
    with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def calls(p, client):
    """A function that calls f(i, *more) for all i and gives the list of results."""
    if p.peer == "map":
        return lambda f, inputs, *more: client.gather(
            client.map(f, inputs, *([m] * len(inputs) for m in more), pure=False))
    from joblib import Parallel, delayed

    def with_joblib(f, inputs, *more):
        return Parallel(n_jobs=-1, batch_size=p.batch or "auto")(delayed(f)(i, *more) for i in inputs)
    return with_joblib


def body_of(p, call):
    """What is timed: a function that returns whether the results are right."""
    n = p.tasks
    if p.case == "trivial":
        return lambda: call(trivial, range(n))[-1] == trivial(n - 1)
    if p.case in ("sleep", "busy"):
        return lambda: call(sleeping if p.case == "sleep" else busy, range(n), p.micros * 1e-6)[-1] == n - 1
    if p.case == "argument":
        arrays = [numpy.ones(p.bytes // 8) for _ in range(n)]
        return lambda: call(total, arrays)[-1] == p.bytes // 8
    return lambda: len(call(make, range(n), p.bytes)[-1]) == p.bytes // 8


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("case", choices=("trivial", "sleep", "busy", "argument", "result"))
    parser.add_argument("--peer", choices=("joblib", "map"), required=True)
    parser.add_argument("--scheduler", required=True)
    for name, default in {"tasks": 1000, "batch": 0, "bytes": 0, "micros": 0, "watched": 0, "reps": 3}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    p = parser.parse_args()
    with Client(p.scheduler) as client, contextlib.ExitStack() as stack:
        call = calls(p, client)
        if p.peer == "joblib":
            import joblib
            stack.enter_context(joblib.parallel_config(backend="dask"))
        body = body_of(p, call)
        call(trivial, range(20))  # warm-up: connections, imports
        for _ in range(p.reps):
            before, start = cpu_seconds(p.watched), time.perf_counter()
            right = body()
            print(f"{time.perf_counter() - start:.9f} {cpu_seconds(p.watched) - before:.9f}", flush=True)
            assert right, "wrong result"


if __name__ == "__main__":
    main()
