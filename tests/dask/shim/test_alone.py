# SPDX-License-Identifier: BSL-1.0
"""The module that runs on workers, without a cluster: what it makes of good, broken and hostile payloads and programs.

    PYTHON-WITH-DASK test_alone.py PAYLOAD_TOOL [TEST...]
"""

import hashlib
import os
import pathlib
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import types

in_their_place = [tempfile.TemporaryFile() for _ in range(3)] if sys.__stdout__ is None else []

import cluster  # noqa: E402


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

    def refused(self, payload, *images, end="refused"):
        answer = self.run(payload, *images)
        assert answer.end == end, answer
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
    cluster.until(lambda: sum(map(cluster.is_alive, pids)) <= alone.state.nthreads, "the end of those that are too many")


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
    why = alone.refused(alone.tool.batch("square", 0, 1, "", "digest=" + "0" * 64), end="missing")
    assert "/joblot-0000000000000000 cannot be read: No such file" in why
    digest = hashlib.sha256(alone.data).hexdigest()
    path = os.path.join(alone.local_directory, "joblot-" + digest[:16])
    assert alone.run(alone.tool.batch("square", 0, 1)).end == "done"
    os.rename(path, path + ".old")
    pathlib.Path(path).write_bytes(alone.data + b"more")
    os.chmod(path, 0o700)
    assert "has another digest" in alone.refused(alone.tool.batch("square", 0, 1), end="missing")
    assert alone.put(alone.data) == digest  # brought again
    assert alone.run(alone.tool.batch("square", 0, 1)).end == "done"
    os.chmod(path, 0o600)
    assert path + " is -rw-------: no program" in alone.refused(alone.tool.batch("square", 0, 1), end="missing")


def test_what_was_verified_is_what_is_started(alone):
    """Whatever happens to the file between the two steps."""
    digest = hashlib.sha256(alone.data).hexdigest()
    path = os.path.join(alone.local_directory, "joblot-" + digest[:16])
    spoilt = alone.local_directory + "/spoilt"
    pathlib.Path(spoilt).write_text("#!/bin/sh\ntouch %s.ran\n" % spoilt)
    os.chmod(spoilt, 0o700)
    child, spoil = alone.shim.keeper.child, [lambda: os.replace(spoilt, path), lambda: os.unlink(path)]

    def late(*arguments):
        spoil.pop(0)()
        return child(*arguments)

    alone.shim.keeper.child = late
    try:
        while spoil:
            answer = alone.run(alone.tool.batch("square", 0, 1, "", "env:DISTINCT=%d" % len(spoil)))
            assert answer.end == "done" and not os.path.exists(spoilt + ".ran"), answer
            assert alone.put(alone.data) == digest
    finally:
        alone.shim.keeper.child = child


def test_a_program_that_cannot_be_stored_leaves_nothing(alone):
    """Files are limited to half of it: what a full disk does, without a disk."""
    digest = hashlib.sha256(alone.data + b"0").hexdigest()
    program = alone.shim.Program("joblot-" + digest[:16], digest, alone.data + b"0")
    before, limits = os.listdir(alone.local_directory), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(alone.data) // 2, limits[1]))
    try:
        program.store(os.path.join(alone.local_directory, program.name))
        assert False, "it cannot have been stored"
    except alone.shim.NotTaken as error:
        assert str(error) == os.path.join(alone.local_directory, program.name) + " cannot be written: File too large"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(alone.local_directory) == before


def test_programs_that_cannot_run(alone):
    def why(data, *options):
        digest = alone.put(data)
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


def test_lines_arrive_whatever_the_streams_are_tied_to(alone):
    read, write = os.pipe()
    kept = os.dup(1)
    os.dup2(write, 1)
    try:
        answer = alone.run(alone.tool.batch("unsynced", 0, 3, "2", "one_by_one=1"))
        lines = b""
        while b"unsynced 2\n" not in lines:
            lines += os.read(read, 1 << 16)
    finally:
        os.dup2(kept, 1)
        for descriptor in (read, write, kept):
            os.close(descriptor)
    assert (answer.end, answer.signal) == ("died", signal.SIGSEGV)
    assert lines.decode().splitlines() == ["unsynced %d" % i for i in range(3)]


def test_a_copy_of_a_child_is_not_heard(alone):
    for function in ("forks", "child_speaks"):
        for option in ("one_by_one=1", "one_by_one=0"):
            answer = alone.run(alone.tool.batch(function, 0, 9, "", option))
            assert answer.end == "done", answer
            assert answer.results == {str(i): str(i) for i in range(9)}, answer
            assert alone.run(alone.tool.batch("square", 3, 2)).results == {"0": "9", "1": "16"}


def test_a_child_that_speaks_unasked_is_replaced(alone):
    pid = alone.run(alone.tool.batch("speaks_later", 0, 1)).pid
    cluster.until(lambda: not cluster.is_alive(pid), "its end")
    assert alone.run(alone.tool.batch("square", 3, 2)).results == {"0": "9", "1": "16"}


def test_a_child_that_died_is_missed_though_a_copy_lives(alone):
    started = alone.tool.fresh()
    answer = alone.run(alone.tool.batch("leaves_a_child", 0, 1, started))
    os.kill(int(started.read_text()), signal.SIGKILL)
    assert (answer.end, answer.signal) == ("died", signal.SIGKILL)


def test_static_objects_are_destroyed(alone):
    """Also of a child that is surplus, of one that had no work for long, and at the end of the worker."""
    files = [alone.tool.fresh() for _ in range(4)]
    for n, file in enumerate(files):
        assert alone.run(alone.tool.batch("destroyed", 0, 1, file, "env:N=%d" % n)).end == "done"
    cluster.until(lambda: all(file.exists() for file in files[:2]), "destructors of surplus children")
    alone.shim.IDLE = 0.0
    try:
        cluster.until(lambda: all(file.exists() for file in files), "destructors of idle children")
    finally:
        alone.shim.IDLE = 60.0
    last = alone.tool.fresh()
    alone.run(alone.tool.batch("destroyed", 0, 1, last))
    alone.status.name = "closing"
    alone.shim.keeper.dismiss(alone)
    assert last.read_text() == "destroyed"  # it has waited


class Speaker:
    """The reading half of a child, of which what it sends is ours to say."""

    def __init__(self, alone):
        child = alone.shim.Child.__new__(alone.shim.Child)
        child.link, self.socket = socket.socketpair()
        child.link.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        child.link.setblocking(False)
        child.poll, child.pid = select.poll(), os.getpid()
        child.status = (None, None)  # not to be ended: it is this process
        child.has_ended = lambda: False
        self.child, self.shim = child, alone.shim

    def receive(self, *pieces):
        def send():
            try:
                for piece in pieces:
                    self.socket.sendall(piece)
            finally:
                self.socket.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=send)
        thread.start()
        try:
            return self.child.receive(lambda child: 1)
        finally:
            self.child.link.close()
            thread.join()
            self.socket.close()


def test_one_that_loses_its_socket_ends_by_itself(alone):
    file = alone.tool.fresh()
    answer = alone.run(alone.tool.batch("loses_its_socket", 0, 1, file))
    assert (answer.end, answer.signal) == ("died", None), answer
    assert file.read_text() == "destroyed"


def test_results_before_a_death_are_kept_though_copies_speak(alone):
    answer = alone.run(alone.tool.batch("child_speaks_then_exits", 5, 4, "8", "one_by_one=1"))
    assert (answer.end, answer.current, answer.exit_status) == ("died", 8, 25), answer
    assert answer.results == {"0": "fine", "1": "fine", "2": "fine"}


def test_no_number_is_used_twice(alone):
    """A child's answers are to the batch that it was sent last, whatever number the client gave that."""
    numbers, receive = [], alone.shim.Child.receive

    def listen(child, attend):
        kind, begin, frame = receive(child, attend)
        if kind == alone.shim.RESULTS:
            numbers.append(struct.unpack_from("=Q", frame, begin)[0])
        return kind, begin, frame

    def repeat(child, attend):
        kind, begin, frame = receive(child, attend)
        if kind == alone.shim.RESULTS:
            struct.pack_into("=Q", frame, begin, 1)
        return kind, begin, frame

    payload = alone.tool.batch("who", 0, 1)
    try:
        alone.shim.Child.receive = listen
        assert len({alone.run(payload).pid for _ in range(3)}) == 1 and numbers == [1, 2, 3]
        alone.shim.Child.receive = repeat
        answer = alone.run(payload)
        assert answer.end == "died" and not answer.results, answer
    finally:
        alone.shim.Child.receive = receive
    assert alone.run(alone.tool.batch("square", 3, 1)).results == {"0": "9"}


def test_more_than_a_million_blocks(alone):
    blocks = (1 << 20) + 3
    head = alone.shim.FRAME.pack(alone.shim.FRAME_MAGIC, alone.shim.RESULTS, 0, blocks, 0)
    table = struct.pack("=QQ", 1, alone.shim.IN_FRAME) * blocks
    table = table.ljust(alone.shim.padded(len(table), 64), b"\0")
    kind, begin, frame = Speaker(alone).receive(head, table, bytes(64 * blocks))
    assert (kind, begin, len(frame)) == (alone.shim.RESULTS, 64 + len(table), 64 + len(table) + 64 * blocks)


def test_announced_memory_is_not_taken(alone):
    """What a child whose memory was overwritten announces costs nothing before it comes."""
    shim = alone.shim
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    place = struct.pack("=QQ32x", 1 << 45, shim.IN_FRAME).ljust(64, b"\0")
    for pieces in (
        [shim.FRAME.pack(shim.FRAME_MAGIC, shim.RESULTS, 1 << 45, 0, 0)],
        [shim.FRAME.pack(shim.FRAME_MAGIC, shim.RESULTS, 0, 1 << 40, 0)],
        [shim.FRAME.pack(shim.FRAME_MAGIC, shim.RESULTS, 0, 1, 0), place],
        [shim.FRAME.pack(shim.FRAME_MAGIC, shim.RESULTS, 1 << 63, 0, 0)],
        [shim.FRAME.pack(shim.FRAME_MAGIC, shim.RESULTS, 0, 1 << 63, 0)],
    ):
        try:
            Speaker(alone).receive(*pieces)
            assert False, "it is no frame"
        except shim.Ended as error:
            assert error.how == "died"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


def test_started_without_standard_streams(alone):
    """What has got their numbers is somebody else's: no output of a child may go there."""
    if sys.__stdout__ is not None:
        again = [sys.executable, "-B", __file__, sys.argv[1], "test_started_without_standard_streams"]
        subprocess.run(["sh", "-c", '"$@" <&- >&- 2>&-', "sh", *again], check=True)
        return
    assert in_their_place[1].fileno() == 1
    assert alone.run(alone.tool.batch("prints", 0, 5, "lost")).end == "done"
    payload, image = alone.tool.batch_with_image("sum_of", 0, 1, "1000")
    assert alone.run(payload, alone.shim.Blob([image])).results == {"0": "499500.000000"}
    alone.close()
    assert [os.fstat(file.fileno()).st_size for file in in_their_place] == [0, 0, 0]


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


def test_few_descriptors(alone):
    """Wherever it fails to get one, what it had before is closed, and nothing else."""
    import gc

    def opened():
        gc.collect()
        numbers = [n for n in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + n)]
        return {n: os.stat("/proc/self/fd/" + n)[1:3] for n in numbers}  # which files they are

    payload = alone.tool.batch("square", 0, 1)
    assert alone.run(payload).end == "done"
    alone.close()
    alone.status.name = "running"
    cluster.until(lambda: not alone.shim.keeper.retired, "the ends of other children")
    mine = str(os.open(os.devnull, os.O_RDONLY))
    limits, worked, before = resource.getrlimit(resource.RLIMIT_NOFILE), False, opened()
    for n in range(3, max(map(int, before)) + 16):
        resource.setrlimit(resource.RLIMIT_NOFILE, (n, limits[1]))
        try:
            batch = alone.shim.Batch(payload, ())
            crew = alone.shim.keeper.crew(alone)
            try:
                crew.lease(batch, lambda child: 0.1).end()
                worked = True
            except alone.shim.Ended as error:
                assert error.how in ("refused", "missing"), error.how  # the program gets as few
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        cluster.until(lambda: opened().items() <= before.items(), "what was open before, with %d" % n)
        assert opened().get(mine) == before[mine], n
    assert worked
    os.close(int(mine))


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
