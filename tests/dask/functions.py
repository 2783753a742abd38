# SPDX-License-Identifier: BSL-1.0
"""joblot.function: functions of a C++ program, called by Dask's workers for Python, on a real cluster.

    PYTHON-WITH-DASK functions.py PROGRAM
"""

import gc
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time

import dask
import dask.array
import numpy
from distributed import Client, LocalCluster

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "include/joblot/python"))
import joblot  # noqa: E402


PATIENCE = 300  # seconds, on the busiest machine


def raised(call, *args, **kwargs):
    """What a call raises."""
    try:
        result = call(*args, **kwargs)
    except Exception as error:
        return error
    raise AssertionError("nothing was raised, but there is %r" % (result,))


def remove_program(dask_worker):
    """A cleaner of temporary files; gives how many files it has deleted."""
    files = list(pathlib.Path(dask_worker.local_directory).glob("joblot-*"))
    for file in files:
        file.unlink()
    return len(files)


def check_error(error, kind, *parts):
    assert type(error) is kind, repr(error)
    for part in parts:
        assert part in str(error), str(error)


class Tests:
    def __init__(self, program, client):
        self.program, self.client = program, client

    def function(self, name):
        return joblot.function(self.program, name)

    def submit(self, name, *args, **kwargs):
        return self.client.submit(self.function(name), *args, pure=False, **kwargs).result()

    def test_signatures_come_from_the_program(self):
        names = "weighted is_fortran doubled swapped repeated conjugated next version fail leave_trace"
        assert list(joblot.functions(self.program)) == names.split()
        assert repr(self.function("weighted")) == "<C++ function weighted(block: float64[...], weight: float64) -> float64>"
        assert str(self.function("swapped").__signature__) == "(rows: 'float64[:, 2]') -> 'float64[:, 2]'"
        assert repr(self.function("repeated")).endswith("(text: bytes, times: int16, really: bool) -> bytes>")
        assert repr(self.function("version")) == "<C++ function version() -> int32[2]>"
        assert repr(self.function("doubled")) == "<C++ function doubled(values: float32[:]) -> float32[:]>"

    def test_arrays_futures_and_numbers_are_arguments(self):
        blocks = [numpy.arange(12.0).reshape(3, 4) + i for i in range(4)]
        sums = [float(b.sum()) for b in blocks]
        weighted = self.function("weighted")
        assert self.client.gather(self.client.map(weighted, blocks, weight=2)) == [2 * s for s in sums]
        futures = self.client.scatter(blocks)
        assert self.client.gather(self.client.map(weighted, futures, [1, 2, 3, 4])) == [
            (i + 1) * s for i, s in enumerate(sums)
        ]
        assert self.submit("weighted", numpy.float64(3), numpy.float32(0.5)) == 1.5
        assert self.submit("weighted", numpy.ones(1_000_000), True * 1.0) == 1e6

    def test_results_are_arrays_numbers_and_bytes(self):
        small, large = numpy.float32([1, 2]), numpy.arange(100_000, dtype="f4")
        assert (self.submit("doubled", small) == [2, 4]).all()
        result = self.submit("doubled", large)
        assert result.dtype == "f4" and (result == 2 * large).all()
        rows = numpy.arange(6.0).reshape(3, 2)
        assert (self.submit("swapped", rows) == rows[:, ::-1]).all()
        assert self.submit("swapped", numpy.zeros((0, 2))).shape == (0, 2)
        assert self.submit("repeated", b"a\0", 3, True) == b"a\0a\0a\0"
        assert self.submit("repeated", text=b"a", times=numpy.int64(2), really=numpy.bool_(True)) == b"aa"
        assert self.submit("conjugated", 1 + 2j) == 1 - 2j
        assert self.submit("conjugated", 1.5) == 1.5
        assert self.submit("next", 2**64 - 2) == 2**64 - 1
        assert self.submit("version").tolist() == [1, 2]
        assert self.submit("fail", 0) is None
        assert self.submit("is_fortran", numpy.asfortranarray(numpy.ones((2, 2), "f4"))) is True
        # What comes of one function goes to the next one on the cluster.
        doubled = self.function("doubled")
        assert self.client.submit(doubled, self.client.submit(doubled, small)).result().tolist() == [4, 8]

    def test_what_does_not_fit_is_a_type_error_before_anything_runs(self):
        block = numpy.ones((2, 2))
        for name, args, parts in [
            ("weighted", (block.astype("f4"), 1.0), ["'block' must be float64[...], and it is float32[:, :]"]),
            ("weighted", (block,), ["missing a required argument: 'weight'"]),
            ("weighted", (block, 1.0, 2), ["too many positional arguments"]),
            ("weighted", (block, "x"), ["'weight' must be float64, and it is a str"]),
            ("weighted", (block, block), ["it is an array"]),
            ("weighted", (None, 1.0), ["it is a NoneType"]),
            ("weighted", (numpy.array(["a"]), 1.0), ["dtype <U1"]),
            ("repeated", ("text", 1, True), ["'text' must be bytes, and it is a str"]),
            ("repeated", (b"", 2**15, True), ["'times' must be int16, and it is 32768"]),
            ("repeated", (b"", 1.5, True), ["'times' must be int16, and it is a float"]),
            ("repeated", (b"", 1, 1), ["'really' must be bool, and it is a int"]),
            ("next", (-1,), ["'n' must be uint64, and it is -1"]),
            ("doubled", (numpy.ones((1, 1), "f4"),), ["must be float32[:], and it has shape (1, 1)"]),
            ("doubled", (1.0,), ["it is a single number"]),
            ("swapped", (numpy.ones((2, 3)),), ["must be float64[:, 2], and it has shape (2, 3)"]),
            ("swapped", (numpy.asfortranarray(numpy.ones((3, 2))),), ["numpy.ascontiguousarray"]),
        ]:
            check_error(raised(self.submit, name, *args), TypeError, name + "():", *parts)
            check_error(raised(self.function(name), *args), TypeError, *parts)  # here, too
        with tempfile.TemporaryDirectory() as folder:
            trace = os.path.join(folder, "trace")
            check_error(raised(self.submit, "leave_trace", trace), TypeError)
            assert not os.path.exists(trace)
            self.submit("leave_trace", trace.encode())
            assert os.path.exists(trace)

    def test_what_it_throws_is_raised(self):
        for how, kind, part in [
            (1, ValueError, "one"),
            (2, IndexError, "x" * 5000),
            (3, RuntimeError, "std::runtime_error: three"),
            (4, RuntimeError, "int"),
            (5, RuntimeError, "fail(): the program died in a task (signal 6): last words"),
        ]:
            check_error(raised(self.submit, "fail", how), kind, part)
        assert self.submit("fail", 0) is None  # the worker is as good as before

    def test_blocks_of_dask_arrays(self):
        x = dask.array.ones((1000,), chunks=100, dtype="f4")
        doubled = x.map_blocks(self.function("doubled"), dtype="f4", meta=numpy.empty(0, "f4"))
        assert doubled.sum().compute() == 2000

    def test_programs_that_cannot_be_asked(self):
        check_error(raised(joblot.function, self.program, "other"), AttributeError, "no function 'other'; it has weighted,")
        check_error(raised(joblot.function, "/bin/false", "f"), RuntimeError, "does its main call joblot::init", "status 1")
        check_error(raised(joblot.function, "/nowhere/at/all", "f"), RuntimeError, "/nowhere/at/all cannot be asked")
        check_error(raised(self.function("version")), RuntimeError, "version() runs on Dask's workers")

    def test_a_program_that_is_gone_is_brought_again(self):
        version = self.function("version")
        removed = self.client.run(remove_program)
        assert all(removed.values()), removed
        error = raised(self.client.submit(version, pure=False).result)
        check_error(error, RuntimeError, "worker tcp://", "/joblot-", "No such file", "joblot.function(...)")
        assert list(self.submit("version")) == list(self.submit("version"))

    def test_workers_that_come_later_have_it(self):
        self.function("version")
        with Client(self.client.scheduler.address, set_as_default=False) as other:  # has not deployed anything itself
            self.client.cluster.scale(3)
            other.wait_for_workers(3, timeout=PATIENCE)
            newest = max(other.scheduler_info()["workers"].items(), key=lambda item: int(item[1]["id"]))[0]
            assert joblot.function(self.program, "next", client=other)
            future = other.submit(joblot.function(self.program, "next", client=other), 1, workers=[newest])
            assert future.result() == 2

    def test_a_new_build_of_the_program_is_another_program(self):
        with tempfile.TemporaryDirectory() as folder:
            copy = os.path.join(folder, "copy")
            shutil.copy(self.program, copy)
            with open(copy, "ab") as file:
                file.write(b"\0")
            assert self.client.submit(joblot.function(copy, "next"), 1).result() == 2

    def test_a_worker_that_dies_under_it(self):
        doubled = self.function("doubled")
        pids = list(self.client.run(os.getpid).values())
        results = self.client.map(doubled, [numpy.full(3, i, "f4") for i in range(200)])
        os.kill(pids[0], signal.SIGKILL)
        assert [r.tolist() for r in self.client.gather(results)] == [[2 * i] * 3 for i in range(200)]
        self.client.wait_for_workers(2, timeout=PATIENCE)  # its nanny starts another one

    def test_nothing_is_left(self):
        """But for what failed: tracebacks of Python's hold those futures."""

        def there(dask_scheduler):
            return [str(key) for key, task in dask_scheduler.tasks.items() if task.state != "erred"]

        for _ in range(100):
            gc.collect()
            left = self.client.run_on_scheduler(there)
            if not left:
                break
            time.sleep(0.1)
        assert not left, left


def main():
    # Else the cluster gives up a worker that its nanny takes longer to start again.
    dask.config.set({"distributed.deploy.lost-worker-timeout": "%d s" % PATIENCE})
    with LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=None, host="127.0.0.1") as cluster:
        with Client(cluster) as client:
            tests = Tests(sys.argv[1], client)
            for name in [name for name in dir(tests) if name.startswith("test_")]:
                if name != "test_nothing_is_left":
                    print(name, flush=True)
                    getattr(tests, name)()
            print("test_nothing_is_left", flush=True)
            tests.test_nothing_is_left()


if __name__ == "__main__":
    main()
