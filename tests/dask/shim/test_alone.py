# SPDX-License-Identifier: BSL-1.0
"""The module that runs on workers, without a cluster: what it makes of good, broken and hostile payloads and programs.

    PYTHON-WITH-DASK test_alone.py PAYLOAD_TOOL [TEST...]
"""

import hashlib
import os
import pathlib
import signal
import struct
import sys
import threading
import time
import types

import cluster


class Alone:
    """Stands in for the worker around the module, which only a cluster has: where it is, and what it is to run."""

    def __init__(self, folder):
        self.tool = cluster.Tool(sys.argv[1], folder)
        self.shim = self.tool.shim()
        self.shim.get_worker = lambda: self
        self.local_directory = os.path.join(folder, "local")
        os.mkdir(self.local_directory)
        self.address, self.contact_address = "tcp://stand-in:1", None
        self.state = types.SimpleNamespace(nthreads=2, tasks={})
        self.memory_manager = types.SimpleNamespace(memory_limit=None)
        self.status = types.SimpleNamespace(name="running")
        self.data = pathlib.Path(self.tool.program).read_bytes()
        self.put(self.data)

    def put(self, data):
        """Puts an executable where its plugin would. Gives its digest."""
        digest = hashlib.sha256(data).hexdigest()
        program = self.shim.Program("joblot-" + digest[:16], digest, data)
        program.store(os.path.join(self.local_directory, program.name))
        return digest

    def get_current_task(self):
        key = "key-%d" % threading.get_ident()
        self.state.tasks.setdefault(key, types.SimpleNamespace(state="executing"))
        return key

    def run(self, payload, *images):
        try:
            answer = self.tool.answer(bytes(self.shim.run(payload, *images)))
            answer.text = None
        except self.shim.TaskFailed as error:
            answer = self.tool.answer(error.args[1])
            answer.text = str(error)
        return answer

    def refused(self, payload, *images):
        answer = self.run(payload, *images)
        assert answer.end == "refused", answer
        assert answer.why.startswith("worker tcp://stand-in:1 cannot run the program: "), answer
        assert answer.text == answer.why[:1000]
        return answer.why

    def pid(self):
        return self.run(self.tool.batch("who", 0, 1)).pid

    def close(self):
        self.status.name = "closed"
        crew = self.shim.keeper.crews.get(self)
        if crew is not None:
            crew.tidy()
            assert not crew.idle and not crew.seats


def test_results(alone):
    answer = alone.run(alone.tool.batch("square", 5, 3))
    assert (answer.end, answer.results, answer.text) == ("done", {"0": "25", "1": "36", "2": "49"}, None)
    assert answer.worker == alone.address


def test_exceptions_are_counted(alone):
    answer = alone.run(alone.tool.batch("fails_at", 5, 3, "6", "one_by_one=1"))
    assert answer.end == "done" and answer.text == "1 of the batch's tasks failed"
    assert answer.results == {"0": "fine", "1": {"error": "it is 6"}, "2": "fine"}


def test_a_child_is_kept(alone):
    assert alone.pid() == alone.pid()


def test_a_kept_child_that_died_is_nobodys_fault(alone):
    pid = alone.pid()
    os.kill(pid, signal.SIGKILL)
    cluster.until(lambda: not cluster.is_alive(pid), "its end")
    assert alone.pid() != pid


def test_another_setup_is_another_child(alone):
    pid = alone.pid()
    answer = alone.run(alone.tool.batch("getenv", 0, 1, "COLOUR", "env:COLOUR=blue"))
    assert answer.results["0"] == "blue" and answer.pid != pid
    assert alone.run(alone.tool.batch("getenv", 0, 1, "COLOUR")).results["0"] == "(unset)"


def test_threads_of_libraries_get_their_share(alone):
    os.environ.pop("OMP_NUM_THREADS", None)
    share = alone.run(alone.tool.batch("getenv", 0, 1, "OMP_NUM_THREADS")).results["0"]
    assert share == str(max(1, len(os.sched_getaffinity(0)) // 2))
    batch = alone.tool.batch("getenv", 0, 1, "OMP_NUM_THREADS", "env:OMP_NUM_THREADS=7")
    assert alone.run(batch).results["0"] == "7"


def test_surplus_children_end(alone):
    pids = [alone.run(alone.tool.batch("who", 0, 1, "", "env:N=%d" % n)).pid for n in range(4)]
    assert sum(map(cluster.is_alive, pids)) <= alone.state.nthreads


def test_idle_children_end(alone):
    pid = alone.pid()
    alone.shim.IDLE = 0.0
    try:
        cluster.until(lambda: not cluster.is_alive(pid), "the end of an idle child")
    finally:
        alone.shim.IDLE = 60.0


def test_worker_ids(alone):
    batch = alone.tool.batch("who", 0, 1, "", "place:tcp://other:1=3", "place:tcp://stand-in:1=10")
    assert alone.run(batch).results["0"].split()[1] == "10"
    assert alone.run(alone.tool.batch("who", 0, 1, "", "place:tcp://other:1=3")).results["0"].split()[1] == "0"


def test_time_limit(alone):
    started = alone.tool.fresh()
    answer = alone.run(alone.tool.batch("hangs", 7, 2, started, "timeout_ns=300000000"))
    assert (answer.end, answer.current, answer.text) == ("timed_out", 7, "task 7 took too long")
    assert not cluster.is_alive(int(started.read_text()))


def test_the_time_limit_is_each_tasks_own(alone):
    answer = alone.run(alone.tool.batch("sleeps", 0, 6, "500", "timeout_ns=2000000000"))
    assert answer.end == "done" and len(answer.results) == 6


def test_what_was_done_before_a_death_is_kept(alone):
    answer = alone.run(alone.tool.batch("crashes_at", 5, 4, "7", "one_by_one=1"))
    assert (answer.end, answer.current, answer.signal) == ("died", 7, signal.SIGSEGV)
    assert answer.results == {"0": "fine", "1": "fine"} and answer.stderr == "about to crash\n"
    answer = alone.run(alone.tool.batch("exits_at", 5, 2, "5"))
    assert (answer.end, answer.current, answer.exit_status) == ("died", 5, 23)


def test_broken_payloads_are_refused(alone):
    good = alone.tool.batch("square", 0, 1)
    size = struct.unpack_from("=I", good, 8)[0]
    broken = [b"", b"JOBLOT", good[:11], good[: 12 + size], good[:-1], good + b"\0", b"JOBLOT01" + good[8:]]
    broken += [good.replace(b'"timeout_ns":0', b'"timeout_xs":0'), good.replace(b'"images":[]', b'"images":{}', 1)]
    broken += [good.replace(b'"worker_id_at":', b'"worker_id_at":9'), good[:8] + b"\xff" * 4 + good[12:]]
    broken += [good.replace(b'"program":"joblot-', b'"program":"/oblot-'), good.replace(b'"places":{}', b'"places":[]')]
    for payload in broken:
        assert "does not make sense" in alone.refused(payload)
    assert "does not make sense" in alone.refused(good, b"an image that is not asked for")
    assert alone.run(good).end == "done"


def test_hostile_frames_end_the_child_alone(alone):
    good = bytearray(alone.tool.batch("square", 0, 1))
    at = good.rfind(b"jblt")
    good[at] ^= 1
    assert "does not begin as one" in alone.refused(bytes(good))
    good[at] ^= 1
    good[at + 72] ^= 1  # the module of what is to be run
    assert "another build" in alone.refused(bytes(good))
    good[at + 72] ^= 1
    good[at + 96] ^= 8  # its place there
    assert "not compiled to run tasks" in alone.refused(bytes(good))


def test_the_digest_is_verified(alone):
    assert "its file cannot be read" in alone.refused(alone.tool.batch("square", 0, 1, "", "digest=" + "0" * 64))
    digest = hashlib.sha256(alone.data).hexdigest()
    path = os.path.join(alone.local_directory, "joblot-" + digest[:16])
    assert alone.run(alone.tool.batch("square", 0, 1)).end == "done"
    os.rename(path, path + ".old")
    pathlib.Path(path).write_bytes(alone.data + b"more")
    assert "its file has another digest" in alone.refused(alone.tool.batch("square", 0, 1))


def test_programs_that_cannot_run(alone):
    def why(data, *options, mode=0o700):
        digest = alone.put(data)
        os.chmod(os.path.join(alone.local_directory, "joblot-" + digest[:16]), mode)
        return alone.refused(alone.tool.batch("square", 0, 1, "", "digest=" + digest, *options))

    def changed(old, new):
        assert old in alone.data and len(old) == len(new)
        return alone.data.replace(old, new)

    machine = alone.data[:18] + b"\xf7\x00" + alone.data[20:]
    assert "it was built for another kind of machine" in why(machine)
    loader = changed(b"/ld-linux-x86-64.so.2\0", b"/ld-linux-x86-64.so.9\0")
    assert "its loader is not there" in why(loader)
    library = why(changed(b"libstdc++.so.6\0", b"libstdc++.so.9\0"))
    assert "exit status 127" in library and "libstdc++.so.9: cannot open shared object file" in library
    assert "noexec" in why(alone.data + b"1", mode=0o600)
    assert "joblot::init" in why(alone.data + b"2", "env:PAYLOAD_TOOL_IS_SILENT=1")


def test_worker_init_that_fails(alone):
    answer = alone.run(alone.tool.batch("square", 0, 1, "", "init=1"))
    assert answer.end == "refused" and answer.hello == [{"error": "no licence"}]


def test_memory_limits(alone):
    def limit(*options):
        return alone.run(alone.tool.batch("memory", 0, 1, "", *options)).results["0"]

    assert limit() == "none"
    assert limit("memory=123456789") == "123456789"
    alone.shim.keeper.crews.clear()
    alone.memory_manager.memory_limit = 400000000  # of two threads
    assert limit() == "200000000"
    assert limit("memory=123456789") == "123456789"
    assert limit("memory=999456789") == "200000000"
    answer = alone.run(alone.tool.batch("allocates", 0, 1, "300000000"))
    assert answer.end in ("done", "died") and "error" in answer.results["0"]
    assert alone.run(alone.tool.batch("allocates", 0, 1, "1000")).results["0"] == "1000"


def test_images(alone):
    payload, image = alone.tool.batch_with_image("sum_of", 0, 2, "100000")
    blob = alone.shim.Blob([image[:1000], image[1000:]])
    for _ in range(2):
        assert alone.run(payload, blob).results == {"0": "4999950000.000000", "1": "4999950000.000000"}
    assert alone.run(payload, image).results["0"] == "4999950000.000000"  # plain bytes do, too
    assert alone.run(payload, blob).results["0"] == "4999950000.000000"
    descriptor, pid = blob.file(), alone.pid()
    assert os.readlink("/proc/self/fd/%d" % descriptor).startswith("/memfd:joblot-broadcast")
    assert "/memfd:joblot-broadcast" in pathlib.Path("/proc/%d/maps" % pid).read_text()
    assert bytes(blob) == image
    del blob
    maps = pathlib.Path("/proc/%d/maps" % pid)
    cluster.until(lambda: "/memfd:joblot-broadcast" not in maps.read_text(), "the child forgets it")
    links = (os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd"))
    assert not any("joblot-broadcast" in os.readlink(link) for link in links if os.path.islink(link))


def test_broken_images_harm_nobody_else(alone):
    payload, image = alone.tool.batch_with_image("sum_of", 0, 1, "100000")
    answer = alone.run(payload, image[:5000])
    assert answer.end in ("refused", "done") and alone.run(payload, image).end == "done"


def test_large_results_and_arguments(alone):
    answer = alone.run(alone.tool.batch("large", 3, 2, "3000000"))
    assert answer.results == {"0": {"size": 3000000, "last": 3.0}, "1": {"size": 3000000, "last": 4.0}}
    payload, image = alone.tool.batch_with_image("sum_of", 0, 1, "5000000")
    assert alone.run(alone.shim.Blob([payload]), image).end == "done"


def test_nested_calls(alone):
    assert alone.run(alone.tool.batch("nested", 3, 1)).results == {"0": "36"}


def test_output(alone):
    read, write = os.pipe()
    kept = os.dup(1)
    os.dup2(write, 1)
    try:
        answer = alone.run(alone.tool.batch("prints", 0, 50, "hello"))
        lines = b""
        while lines.count(b"\n") < 50:
            lines += os.read(read, 1 << 16)
    finally:
        os.dup2(kept, 1)
        for descriptor in (read, write, kept):
            os.close(descriptor)
    assert answer.end == "done"
    assert lines.decode().splitlines() == ["hello out %d" % i for i in range(50)]


def test_cancelled(alone):
    """That this thread goes on meanwhile shows, too, that the other one waits without the interpreter's lock."""
    started = alone.tool.fresh()
    answers = []
    payload = alone.tool.batch("hangs", 0, 1, started)
    thread = threading.Thread(target=lambda: answers.append(alone.run(payload)))
    thread.start()
    cluster.until(lambda: started.exists() and started.read_text(), "the task")
    pid = int(started.read_text())
    for task in alone.state.tasks.values():
        task.state = "cancelled"
    thread.join()
    assert answers[0].end == "cancelled" and not cluster.is_alive(pid)


def test_nothing_is_left_open(alone):
    for function in ("square", "crashes_at", "square"):
        alone.run(alone.tool.batch(function, 0, 1, "0"))
    alone.close()
    alone.status.name = "running"
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        alone.run(alone.tool.batch("crashes_at", 0, 1, "0"))
    import gc

    gc.collect()
    cluster.until(lambda: len(os.listdir("/proc/self/fd")) <= before, "its descriptors are closed")


if __name__ == "__main__":
    cluster.run_tests(globals(), Alone)
