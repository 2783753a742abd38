# SPDX-License-Identifier: BSL-1.0
"""The module that runs on workers, on a real cluster of the Dask that the Python has. A Python client submits what a
C++ one would.

    PYTHON-WITH-DASK test_on_cluster.py PAYLOAD_TOOL [TEST...]
"""

import hashlib
import os
import pathlib
import pickle
import signal
import sys
import time

import cluster
from cluster import children, is_alive, until


class Shared(cluster.Cluster):
    """One cluster for all tests, with a worker of two threads; those that do harm start workers of their own."""

    def __init__(self, folder):
        super().__init__(folder, cluster.Tool(sys.argv[1], folder))
        self.main = self.worker()

    def on_main(self, payload, *images):
        return self.run(payload, *images, workers=[self.main.address])


def started_by(path):
    """The process that runs a task which has written its number to a file."""
    until(lambda: path.exists() and path.read_text(), "the task")
    return int(path.read_text())


def test_results(c):
    answer = c.on_main(c.tool.batch("square", 5, 3))
    assert (answer.end, answer.results) == ("done", {"0": "25", "1": "36", "2": "49"})
    assert answer.worker == c.main.address and answer.pid in children(c.main.pid)


def test_results_are_plain_bytes(c):
    future = c.submit(c.tool.batch("large", 0, 1, "200000"))
    data = future.result()
    assert isinstance(data, (bytes, bytearray, memoryview))
    assert c.tool.answer(data).results == {"0": {"size": 200000, "last": 0.0}}


def test_exceptions(c):
    answer = c.on_main(c.tool.batch("fails_at", 5, 3, "6"))
    assert (answer.end, answer.text) == ("done", "1 of the batch's tasks failed")
    assert answer.results == {"0": "fine", "1": {"error": "it is 6"}, "2": "fine"}


def test_large_exceptions_are_not_cut_off(c):
    payload = c.tool.batch("fails_at", 0, 5000, "4999")
    answer = c.on_main(payload)
    assert len(answer.results) == 5000 and answer.results["4999"] == {"error": "it is 4999"}


def test_crashes(c):
    answer = c.on_main(c.tool.batch("crashes_at", 5, 3, "6"))
    assert (answer.end, answer.signal, answer.exit_status, answer.current) == ("died", signal.SIGSEGV, None, 6)
    assert answer.stderr == "about to crash\n" and "signal 11" in answer.text
    answer = c.on_main(c.tool.batch("exits_at", 5, 3, "5"))
    assert (answer.end, answer.signal, answer.exit_status, answer.current) == ("died", None, 23, 5)
    assert c.on_main(c.tool.batch("square", 0, 1)).end == "done"


def test_time_limit(c):
    started = c.tool.fresh()
    answer = c.on_main(c.tool.batch("hangs", 7, 1, started, "timeout_ns=300000000"))
    assert (answer.end, answer.current) == ("timed_out", 7)
    assert not is_alive(started_by(started))


def test_cancel_kills_the_child(c):
    started = c.tool.fresh()
    future = c.submit(c.tool.batch("hangs", 0, 1, started), workers=[c.main.address])
    pid = started_by(started)
    future.cancel()
    until(lambda: not is_alive(pid), "the end of the child")
    assert c.on_main(c.tool.batch("square", 0, 1)).end == "done"


def test_released_keys_kill_the_child(c):
    started = c.tool.fresh()
    future = c.submit(c.tool.batch("hangs", 0, 1, started), workers=[c.main.address])
    pid = started_by(started)
    del future
    until(lambda: not is_alive(pid), "the end of the child")


def test_two_tasks_at_a_time(c):
    files = [c.tool.fresh(), c.tool.fresh()]
    futures = [c.submit(c.tool.batch("hangs", 0, 1, file), workers=[c.main.address]) for file in files]
    pids = {started_by(file) for file in files}
    assert len(pids) == 2 and pids <= children(c.main.pid)
    # the worker goes on talking, as nobody holds the interpreter's lock
    assert c.client.run(os.getpid, workers=[c.main.address]) == {c.main.address: c.main.pid}
    for future in futures:
        future.cancel()
    until(lambda: not any(map(is_alive, pids)), "the end of both")


def test_worker_ids_are_apart(c):
    place = "place:%s=10" % c.main.address
    batches = [c.tool.batch("sleeps", 0, 1, "200"), c.tool.batch("who", 0, 1, "", place)]
    slow = c.submit(batches[0], workers=[c.main.address])
    ids = {c.on_main(batches[1]).results["0"].split()[1] for _ in range(3)}
    slow.result()
    assert ids <= {"10", "11"}


def test_output_reaches_the_workers_log(c):
    c.on_main(c.tool.batch("prints", 0, 3, "hear, hear"))
    wanted = ["hear, hear %s %d" % (stream, i) for stream in ("out", "err") for i in range(3)]
    until(lambda: all(line in c.main.log.read_text().splitlines() for line in wanted), "the lines")


def test_a_line_before_a_crash_reaches_the_workers_log(c):
    answer = c.on_main(c.tool.batch("unsynced", 0, 3, "2", "one_by_one=1"))
    assert (answer.end, answer.signal) == ("died", signal.SIGSEGV)
    lines = ["unsynced %d" % i for i in range(3)]
    until(lambda: lines[2] in c.main.log.read_text().splitlines(), "the lines")
    text = c.main.log.read_text().splitlines()
    assert [text.count(line) for line in lines] == [1, 1, 1]


def test_a_copy_of_a_child_is_not_heard(c):
    answer = c.on_main(c.tool.batch("forks", 0, 9, "", "one_by_one=1"))
    assert answer.results == {str(i): str(i) for i in range(9)}, answer
    assert c.on_main(c.tool.batch("square", 3, 2)).results == {"0": "9", "1": "16"}


def test_images(c):
    def open_files():
        return c.client.run(broadcasts_open, workers=[c.main.address])[c.main.address]

    payload, image = c.tool.batch_with_image("sum_of", 0, 2, "100000")
    future = c.client.scatter(c.shim.Blob([image]), hash=False, broadcast=True)
    for _ in range(3):
        answer = c.on_main(payload, future)
        assert answer.results == {"0": "4999950000.000000", "1": "4999950000.000000"}
    assert open_files() in (1, 2)  # written once; Python's mmap may keep a copy of the descriptor
    del future
    until(lambda: open_files() == 0, "the file is closed")
    maps = [pathlib.Path("/proc/%d/maps" % pid) for pid in children(c.main.pid)]
    until(lambda: not any("joblot-broadcast" in m.read_text() for m in maps), "children forget it")


def broadcasts_open():
    import gc

    gc.collect()
    links = []
    for name in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink("/proc/self/fd/" + name))
        except OSError:
            pass
    return sum("joblot-broadcast" in link for link in links)


broadcasts_open.__module__ = "__main__"  # workers get it by value


def test_large_payloads_by_scatter(c):
    payload = c.tool.batch("square", 0, 20000)
    future = c.client.scatter(c.shim.Blob([payload[:100000], payload[100000:]]), hash=False)
    assert len(c.run(future).results) == 20000


def test_a_late_worker_gets_the_program(c):
    worker = c.worker()
    answer = c.run(c.tool.batch("square", 3, 1), workers=[worker.address])
    assert answer.worker == worker.address and answer.results == {"0": "9"}
    worker.terminate()
    worker.wait()


def test_registering_again_is_harmless(c):
    started = c.tool.fresh()
    future = c.submit(c.tool.batch("hangs", 0, 1, started), workers=[c.main.address])
    started_by(started)  # the file is in use
    for answer in c.register().values():
        assert answer["status"] == "OK", answer
    future.cancel()
    assert c.on_main(c.tool.batch("square", 0, 1)).end == "done"


def test_memory_limit(c):
    worker = c.worker("--memory-limit", "800000000")
    try:
        answer = c.run(c.tool.batch("memory", 0, 1), workers=[worker.address])
        assert answer.results["0"] == "400000000"
        answer = c.run(c.tool.batch("memory", 0, 1, "", "memory=300000000"), workers=[worker.address])
        assert answer.results["0"] == "300000000"
        answer = c.run(c.tool.batch("allocates", 0, 1, "600000000"), workers=[worker.address])
        assert answer.end in ("done", "died") and "error" in answer.results["0"], answer
        assert c.run(c.tool.batch("square", 2, 1), workers=[worker.address]).results["0"] == "4"
    finally:
        worker.terminate()
        worker.wait()


def test_another_digest_is_refused(c):
    digest = "0" * 64
    plugin = pickle.dumps(c.shim.Program("joblot-" + digest[:16], digest, b"#!/bin/sh\ntouch /tmp/pwned\n"))
    register(c, "impostor", plugin)
    answer = c.on_main(c.tool.batch("square", 0, 1, "", "digest=" + digest))
    assert answer.end == "missing" and "has another digest" in answer.why
    assert c.main.address in answer.why and answer.text == answer.why


def test_a_missing_library_is_told(c):
    data = pathlib.Path(c.tool.program).read_bytes().replace(b"libstdc++.so.6\0", b"libstdc++.so.9\0")
    digest = hashlib.sha256(data).hexdigest()
    register(c, digest, pickle.dumps(c.shim.Program("joblot-" + digest[:16], digest, data)))
    answer = c.on_main(c.tool.batch("square", 0, 1, "", "digest=" + digest))
    assert answer.end == "refused" and "libstdc++.so.9: cannot open shared object file" in answer.why


def register(c, name, plugin):
    extra = {"idempotent": True} if c.version() >= (2023, 9, 2) else {}
    for answer in c.call("register_worker_plugin", plugin=plugin, name=name, **extra).values():
        assert answer["status"] == "OK", answer


def test_nothing_outlives_a_killed_worker(c):
    worker = c.worker()
    before = set(os.listdir("/dev/shm")) | set(os.listdir("/tmp"))
    files = [c.tool.fresh(), c.tool.fresh()]
    futures = [c.submit(c.tool.batch("hangs", 0, 1, file), workers=[worker.address]) for file in files]
    pids = {started_by(file) for file in files}
    assert pids <= children(worker.pid)
    worker.kill()
    worker.wait()
    until(lambda: not any(map(is_alive, pids)), "the end of the children")
    c.client.cancel(futures)
    appeared = (set(os.listdir("/dev/shm")) | set(os.listdir("/tmp"))) - before
    others = ("joblot-test", "joblot-dask-")  # folders of tests that run beside this one
    assert not any("joblot" in name and not name.startswith(others) for name in appeared), appeared


def test_a_killed_worker_takes_children_of_another_user_along(c):
    """The system forgets whom to signal at the parent's end where a process changes its user."""
    if os.getuid() != 0:
        return
    nanny = c.worker(nanny="--nanny")
    address = nanny.address
    started = c.tool.fresh()
    future = c.submit(c.tool.batch("hangs_as_nobody", 0, 1, started), workers=[address])
    pid = started_by(started)
    worker = c.client.run(os.getpid, workers=[address])[address]
    assert pid in children(worker)
    future.cancel()
    os.kill(nanny.pid, signal.SIGKILL)
    os.kill(worker, signal.SIGKILL)
    nanny.wait()
    until(lambda: not is_alive(pid), "the end of the child")


def test_static_objects_are_destroyed_when_a_worker_ends(c):
    worker = c.worker()
    file = c.tool.fresh()
    assert c.run(c.tool.batch("destroyed", 0, 1, file), workers=[worker.address]).end == "done"
    worker.terminate()
    worker.wait()
    assert file.read_text() == "destroyed"


def test_nothing_outlives_a_worker_that_is_told_to_end(c):
    worker = c.worker()
    pid = c.run(c.tool.batch("who", 0, 1), workers=[worker.address]).pid
    started = c.tool.fresh()
    future = c.submit(c.tool.batch("hangs", 0, 1, started), workers=[worker.address])
    pids = {pid, started_by(started)}
    begin = time.monotonic()
    worker.terminate()
    worker.wait()
    until(lambda: not any(map(is_alive, pids)), "the end of the children")
    assert time.monotonic() - begin < 25, "the worker waited for its task"  # Dask gives up after 30 s
    future.cancel()


def test_restarted_workers(c):
    nanny = c.worker(nanny="--nanny")
    answer = c.run(c.tool.batch("who", 0, 1), workers=[nanny.address])
    worker = c.client.run(os.getpid, workers=[nanny.address])[nanny.address]
    assert answer.pid in children(worker)
    known = set(c.workers())
    os.kill(worker, signal.SIGKILL)
    until(lambda: not is_alive(answer.pid), "the end of the child")
    until(lambda: set(c.workers()) - known or nanny.address not in c.workers(), "the worker is missed")
    until(lambda: len(c.workers()) == len(known), "the nanny starts another worker")
    address = (set(c.workers()) - (known - {nanny.address})).pop()
    assert c.run(c.tool.batch("square", 4, 1), workers=[address]).results == {"0": "16"}
    nanny.terminate()
    nanny.wait()


if __name__ == "__main__":
    cluster.run_tests(globals(), Shared, shared=True)
