# SPDX-License-Identifier: BSL-1.0
"""The process benchmarks with Python's joblib and its default backend, loky: the same cases and the same output as
joblot.cpp. bench/run_processes.py runs it as `python -c "import loky_peer; loky_peer.main()" CASE ...`: what it defines
then has a module that workers can import, and need not be sent by value with every task.
"""

import argparse
import os
import pathlib
import time

import numpy
from joblib import Parallel, delayed


def trivial(i):
    return i * 0.5


def which_process(_):
    return os.getpid()


def total(array):
    return float(array.sum())


def memory_now():
    """pid, and bytes: resident, proportional (Pss), own."""
    found = {}
    for line in pathlib.Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        found[name] = int(rest.split()[0]) * 1024
    return os.getpid(), found["Rss"], found["Pss"], found["Private_Clean"] + found["Private_Dirty"]


def meet(folder, stage, workers):
    place = pathlib.Path(folder) / stage
    place.mkdir(parents=True, exist_ok=True)
    (place / str(os.getpid())).touch()
    until = time.monotonic() + 60
    while len(list(place.iterdir())) < workers:
        if time.monotonic() > until:
            raise RuntimeError("the other worker has not come in a minute")
        time.sleep(0.001)


def idle_memory(folder, stage, workers):
    meet(folder, stage, workers)
    return memory_now()


def memory_with(array, folder, workers):
    array.sum()
    meet(folder, "has read", workers)
    memory = memory_now()
    meet(folder, "has looked", workers)
    return memory


def repeat(p, body):
    """One line per repetition; the first one is a warm-up."""
    for rep in range(-1, p.reps):
        value = body()
        if rep >= 0:
            print(f"{value:.9f}")


def seconds(call):
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def cold(p):
    start = time.perf_counter()
    results = Parallel(n_jobs=p.workers, batch_size=1, return_as="generator_unordered")(
        delayed(which_process)(i) for i in range(p.workers))
    next(results)
    first = time.perf_counter() - start
    for _ in results:
        pass
    print(f"{first:.9f} {time.perf_counter() - start:.9f}")


def trivial_tasks(p):
    def once(tasks):
        took, results = seconds(lambda: Parallel(n_jobs=p.workers, batch_size=p.batch or "auto")(
            delayed(trivial)(i) for i in range(tasks)))
        assert results[-1] == trivial(tasks - 1)
        return took
    once(1000)  # starts the workers
    for _ in range(p.reps):
        print(f"{once(p.tasks):.9f}")


def argument(p):
    distinct = p.how != "same"

    def once():
        # new arrays each time: joblib writes an array to its temporary folder once, and knows it again
        data = [numpy.full(p.bytes // 8, i + 1.0) for i in range(p.tasks if distinct else 1)]
        took, sums = seconds(lambda: Parallel(n_jobs=p.workers, batch_size=1)(
            delayed(total)(data[i if distinct else 0]) for i in range(p.tasks)))
        assert sums == [(i + 1.0 if distinct else 1.0) * (p.bytes // 8) for i in range(p.tasks)]
        return took / p.tasks
    repeat(p, once)


def memory_of_workers(p, stage):
    return sorted(Parallel(n_jobs=p.workers, batch_size=1)(
        delayed(idle_memory)(p.meeting, stage, p.workers) for _ in range(p.workers)))


def memory(p):
    memory_of_workers(p, "warm up")
    for _, *values in memory_of_workers(p, "idle"):
        print(*values)


def broadcast(p):
    array = numpy.ones(p.bytes // 8)
    memory_of_workers(p, "warm up")
    before = memory_of_workers(p, "idle")
    after = sorted(Parallel(n_jobs=p.workers, batch_size=1)(
        delayed(memory_with)(array, p.meeting, p.workers) for _ in range(p.workers)))
    for then, now in zip(before, after):
        assert then[0] == now[0], "another worker was used"
        print(*(b - a for a, b in zip(then[1:], now[1:])))


def one_element(i, array):
    return float(array[i])


def first_use(p):
    memory_of_workers(p, "warm up")
    number = 0

    def once():
        nonlocal number
        number += 1
        array = numpy.full(p.bytes // 8, float(number))
        took, results = seconds(lambda: Parallel(n_jobs=p.workers, batch_size=1)(
            delayed(one_element)(i, array) for i in range(p.workers)))
        assert results == [number] * p.workers
        return took
    repeat(p, once)


CASES = {"first_use": first_use, "cold": cold, "trivial": trivial_tasks, "argument": argument, "memory": memory, "broadcast": broadcast}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("case", choices=CASES)
    for name, default in {"tasks": 1000, "batch": 0, "bytes": 0, "workers": 2, "reps": 3}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--how", default="")
    parser.add_argument("--meeting", default="")
    p = parser.parse_args()
    CASES[p.case](p)
