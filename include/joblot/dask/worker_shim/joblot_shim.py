# SPDX-License-Identifier: BSL-1.0
"""What a Dask worker runs for joblot: hands batches of tasks to the user's own program, one child process per thread.

A client sends this module to the workers (`Program`) and to the scheduler (`Source`), then submits `run(payload, *images)`.
"""

import array
import asyncio
import collections
import concurrent.futures
import errno
import fcntl
import hashlib
import json
import mmap
import os
import pickle
import queue
import select
import signal
import socket
import struct
import threading
import time
import traceback
import weakref

from distributed import get_worker
from distributed.diagnostics.plugin import SchedulerPlugin, WorkerPlugin
from distributed.protocol.serialize import Serialized, dask_deserialize, dask_serialize
from distributed.utils import offload

MAGIC = b"JOBLOT02"
FRAME = struct.Struct("=IIQQQ32x")  # magic, kind, size of the stream, blocks, files: wire/frame.hpp
FRAME_MAGIC = 0x746C626A
HELLO, SETUP, IMAGES, RUN, RESULTS, FORGET = range(1, 7)
RESULTS_HEAD = struct.Struct("=QIIIIq")  # run_results of wire/batch_protocol.hpp
PART = struct.Struct("=QII")  # size of the stream, blocks, mark: wire/parcel.hpp
IN_FRAME = NOTHING = 2**64 - 1
HELLO_FAILED_AT = 28  # worker_hello::failed of wire/worker_greeting.hpp
NOT_OUR_CODE = 78  # exit status of a program that was sent what it has no code for: process/hosted_main.hpp
POLL = 0.1  # seconds between looks at whether a task is still wanted
IDLE = 60.0  # seconds that a child without work is kept
TAIL = 4096
TOPIC = "joblot-progress"  # of events that tell how far batches are
TELL = 0.25  # seconds between two of them
THREAD_LIMITS = ("OMP", "OPENBLAS", "MKL", "BLIS", "NUMEXPR", "NUMBA")


# --- what travels


class TaskFailed(Exception):
    """A task of a batch failed, or the batch could not be run; `args[1]` holds the result's bytes."""

    def __str__(self):  # Dask cuts off exceptions whose text is long, and logs their repr
        return str(self.args[0])[:1000]

    def __repr__(self):
        return "TaskFailed(%r)" % str(self)


class Result(Serialized):
    """What `run` returns: arrives as `bytes`, and no worker or scheduler on the way compresses it."""

    def __init__(self, frames):
        super().__init__(None, frames)

    @property
    def header(self):
        return {
            "serializer": "dask",
            "type": "builtins.bytes",
            "type-serialized": pickle.dumps(bytes),
            "sub-header": {},
            "compression": (False,) * len(self.frames),
        }

    @header.setter
    def header(self, ignored):
        pass

    def __sizeof__(self):
        return sum(map(len, self.frames))

    def __bytes__(self):
        return b"".join(self.frames)

    def __reduce__(self):
        return Result, ([bytes(self)],)

    def __repr__(self):
        return "<result of a joblot batch, %d bytes>" % self.__sizeof__()


class Blob:
    """Data that a client scattered: a large payload, or a broadcast value, which children get as a file in memory."""

    def __init__(self, frames):
        self.frames = [memoryview(f).cast("B") for f in frames]
        self.lock = threading.Lock()
        self.descriptor = None

    def __sizeof__(self):
        return sum(f.nbytes for f in self.frames)

    def __reduce__(self):
        return Blob, ([bytes(self)],)

    def __bytes__(self):
        return b"".join(self.frames)

    def __repr__(self):  # Dask shows the arguments of tasks that failed
        return "<data of joblot, %d bytes>" % self.__sizeof__()

    def file(self):
        """A descriptor of a file in memory with the content; closed when this object is gone."""
        with self.lock:
            if self.descriptor is None:
                descriptor = os.memfd_create("joblot-broadcast", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
                weakref.finalize(self, os.close, descriptor)
                for frame in self.frames:
                    write_all(descriptor, frame)
                fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
                if self.__sizeof__():  # once is enough: from now on the file holds it
                    size = self.__sizeof__()
                    self.frames = [memoryview(mmap.mmap(descriptor, size, prot=mmap.PROT_READ))]
                self.descriptor = descriptor
            return self.descriptor


@dask_serialize.register(Blob)
def serialize_blob(blob):
    return {}, list(blob.frames)


@dask_deserialize.register(Blob)
def deserialize_blob(header, frames):
    return Blob(frames)


class Source(SchedulerPlugin):
    """Does nothing: to unpickle it brings this module to the scheduler, which looks at graphs that name it."""

    name = "joblot"


class Program(WorkerPlugin):
    """Puts the user's executable into the worker's own folder."""

    failed = False

    def __init__(self, name, digest, data):
        self.name, self.digest, self.data = name, digest, data

    async def setup(self, worker):
        try:
            await offload(self.store, os.path.join(worker.local_directory, self.name))
        except OSError:
            self.failed = True
            raise
        self.data = None

    def store(self, path):
        if self.data is None or os.path.exists(path):  # the name has the digest in it
            return
        fresh = "%s.%d.%d" % (path, os.getpid(), threading.get_ident())
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o700)
        try:
            write_all(descriptor, self.data)
        finally:
            os.close(descriptor)
        os.rename(fresh, path)


class Ready(WorkerPlugin):
    """Waits until a worker has what another client's `Program` brings it."""

    def __init__(self, name, plugin):
        self.name, self.plugin = name, plugin

    async def setup(self, worker):
        path = os.path.join(worker.local_directory, self.name)
        for _ in range(12000):  # ten minutes: it may be large, come by a slow net, and be on its way only
            if os.path.exists(path):
                return
            if getattr(worker.plugins.get(self.plugin), "failed", False):
                break
            await asyncio.sleep(0.05)
        raise RuntimeError("joblot: %s did not come" % path)


def write_all(descriptor, data):
    data = memoryview(data)
    while data.nbytes:
        data = data[os.write(descriptor, data) :]


# --- one child process


class Ended(Exception):
    """A batch ends before it is done. `how` is the `end` that the result names."""

    def __init__(self, how, why=None, task=None, frames=()):
        super().__init__(how, why)
        self.how, self.why, self.task, self.frames = how, why, task, frames


class Relay(threading.Thread):
    """Passes the lines that a child writes on to the worker's own output, whole, and keeps the end of its stderr."""

    turn = threading.Lock()

    def __init__(self, out, err):
        super().__init__(name="joblot-relay", daemon=True)
        self.pipes = {out: (1, bytearray()), err: (2, bytearray())}
        self.err = err
        self.tail = b""
        self.start()

    def run(self):
        poll = select.poll()
        for pipe in self.pipes:
            poll.register(pipe, select.POLLIN)
        while self.pipes:
            for pipe, _ in poll.poll():
                self.take(pipe, poll)

    def take(self, pipe, poll):
        to, begun = self.pipes[pipe]
        data = os.read(pipe, 1 << 16)
        begun += data
        if pipe == self.err:
            self.tail = (self.tail + data)[-TAIL:]
        end = begun.rfind(b"\n") + 1 if data and len(begun) < 1 << 20 else len(begun)
        try:
            with self.turn:
                write_all(to, bytes(begun[:end]))
        except OSError:
            pass  # the worker has no such output
        del begun[:end]
        if not data:
            poll.unregister(pipe)
            os.close(pipe)
            del self.pipes[pipe]


class Child:
    """The program as a child process. For the thread that has leased it; the keeper starts it."""

    def __init__(self, path, name, environment, kind):
        self.kind = kind  # children of one kind can stand in for each other
        self.files = weakref.WeakValueDictionary()  # broadcast values that it has, by id
        self.ids = set()
        self.fresh = True
        self.idle_since = 0.0
        self.status = None
        board = os.memfd_create("joblot-board", os.MFD_CLOEXEC)
        self.link, end = socket.socketpair()
        out, err = os.pipe(), os.pipe()
        high = [end.detach(), board, out[1], err[1]]
        try:
            os.ftruncate(board, mmap.PAGESIZE)
            self.board = memoryview(mmap.mmap(board, mmap.PAGESIZE)).cast("Q")
            self.board[0] = self.board[2] = NOTHING  # task_board: current, started, limit, consumed
            for i, descriptor in enumerate(high):  # of the numbers that the child wants
                high[i] = out_of_the_way(descriptor)
            wanted = [(3, high[0]), (4, high[1]), (1, high[2]), (2, high[3])]
            actions = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
            actions += [(os.POSIX_SPAWN_DUP2, source, number) for number, source in wanted]
            self.pid = spawn(path, [name, "--joblot-hosted=%d" % os.getpid()], environment, actions)
        except BaseException:
            self.link.close()
            os.close(out[0])
            os.close(err[0])
            raise
        finally:
            for descriptor in high:
                os.close(descriptor)
        self.link.setblocking(False)
        self.poll = select.poll()
        self.relay = Relay(out[0], err[0])

    def wait(self, events, attend):
        """Waits for the socket, without the interpreter's lock."""
        self.poll.register(self.link, events)
        while not self.poll.poll(1000 * attend(self)):
            pass

    def send(self, pieces, attend, descriptors=()):
        files = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        left = collections.deque(memoryview(p).cast("B") for p in pieces if len(p))
        try:
            while left:
                try:
                    sent = self.link.sendmsg(list(left)[:512], files, socket.MSG_NOSIGNAL)
                except BlockingIOError:
                    self.wait(select.POLLOUT, attend)
                    continue
                files = []
                while left and sent >= left[0].nbytes:
                    sent -= left.popleft().nbytes
                if sent:
                    left[0] = left[0][sent:]
        except ConnectionError:
            raise Ended("died")

    def fill(self, buffer, attend):
        left = memoryview(buffer)
        while left.nbytes:
            try:
                got = self.link.recv_into(left)
            except BlockingIOError:
                self.wait(select.POLLIN, attend)
                continue
            except ConnectionError:
                got = 0
            if got == 0:
                raise Ended("died")
            left = left[got:]

    def receive(self, attend):
        """The next frame: its kind, where its stream begins, and all of its bytes."""
        head = bytearray(FRAME.size)
        self.fill(head, attend)
        magic, kind, stream, blocks, _ = FRAME.unpack(head)
        if magic != FRAME_MAGIC or kind not in (HELLO, RESULTS) or blocks > 1 << 20:
            raise Ended("died")  # its memory has been overwritten
        table = bytearray(padded(16 * blocks, 64))
        self.fill(table, attend)
        size = padded(stream, 64)
        for length, place in struct.iter_unpack("=QQ", table[: 16 * blocks]):
            size += padded(length, 64) if place == IN_FRAME else 0
        begin = len(head) + len(table)
        frame = bytearray(begin + size)
        frame[:begin] = head + table
        self.fill(memoryview(frame)[begin:], attend)
        return kind, begin, frame

    def running(self):
        """Index of the task that runs, and since when, if one runs."""
        while True:  # the child writes the time before the index
            current, started = self.board[0], self.board[1]
            if current == self.board[0]:
                return (None, None) if current == NOTHING else (current, started)

    def give_images(self, ids, blobs, attend):
        for number, blob in zip(ids, blobs):
            if self.files.get(number) is blob:
                continue
            if number in self.ids:
                self.forget([number], attend)
            self.send([frame_of(IMAGES, [number], 1)], attend, [blob.file()])
            self.files[number] = blob
            self.ids.add(number)

    def forget(self, ids, attend):
        if ids:
            self.send([frame_of(FORGET, ids)], attend)
            self.ids.difference_update(ids)

    def forget_gone(self, attend):
        self.forget([number for number in self.ids if number not in self.files], attend)

    def is_there(self):
        self.poll.register(self.link, 0)
        return not self.poll.poll(0)  # hung up, or died

    def kill(self):
        """Ends the process, if it has not ended yet. What it sent before can still be received."""
        if self.status is not None:
            return
        self.status = (None, None)
        try:
            os.kill(self.pid, signal.SIGKILL)  # its number is its own until it is waited for
            status = os.waitpid(self.pid, 0)[1]
            self.status = (os.WTERMSIG(status), None) if os.WIFSIGNALED(status) else (None, os.WEXITSTATUS(status))
        except OSError:
            pass  # somebody else waits for all children

    def end(self):
        self.kill()
        self.link.close()
        self.relay.join(1)  # longer only where a process that it started holds its output open

    def last_words(self):
        """How it ended, for people."""
        number, code = self.status
        how = "was ended by signal %d" % number if number else "ended with exit status %s" % code
        tail = self.relay.tail.decode(errors="replace").strip()
        return how + (": " + tail if tail else "")


def padded(size, to):
    return (size + to - 1) // to * to


def frame_of(kind, numbers, files=0):
    stream = struct.pack("=%dQ" % len(numbers), *numbers)
    return FRAME.pack(FRAME_MAGIC, kind, len(stream), 0, files) + stream.ljust(padded(len(stream), 64), b"\0")


def out_of_the_way(descriptor):
    high = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 64)
    os.close(descriptor)
    return high


def spawn(path, arguments, environment, actions):
    defaults = [signal.SIGPIPE, signal.SIGXFSZ]  # Python ignores them
    for _ in range(50):
        try:
            return os.posix_spawn(
                path,
                arguments,
                environment,
                file_actions=actions,
                setsigmask=[signal.SIGINT],  # the program lets it in when it knows what to do about it
                setsigdef=defaults,
            )
        except OSError as error:  # another thread starts something while the file is still being written
            if error.errno != errno.ETXTBSY:
                raise
            time.sleep(0.02)
    raise OSError(errno.ETXTBSY, os.strerror(errno.ETXTBSY))


# --- the children of a worker


class Keeper(threading.Thread):
    """Starts children, which the system ends with the thread that started them, and looks after those without work."""

    def __init__(self):
        super().__init__(name="joblot-keeper", daemon=True)
        self.wishes = queue.SimpleQueue()
        self.crews = weakref.WeakKeyDictionary()
        self.lock = threading.Lock()

    def crew(self, worker):
        with self.lock:
            if not self.is_alive():
                self.start()
            if worker not in self.crews:
                self.crews[worker] = Crew(worker)
            return self.crews[worker]

    def child(self, *arguments):
        answer = concurrent.futures.Future()
        self.wishes.put((answer, arguments))
        return answer.result()

    def run(self):
        tidied = time.monotonic()
        while True:
            try:
                answer, arguments = self.wishes.get(timeout=1)
                self.fulfil(answer, arguments)
            except queue.Empty:
                pass
            if time.monotonic() - tidied > 1:
                self.tidy()
                tidied = time.monotonic()

    def tidy(self):
        with self.lock:
            crews = list(self.crews.values())
        for crew in crews:
            try:
                crew.tidy()
            except Exception:  # this thread must not end: all children would end with it
                traceback.print_exc()

    @staticmethod
    def fulfil(answer, arguments):
        try:
            answer.set_result(Child(*arguments))
        except BaseException as error:
            answer.set_exception(error)


class Crew:
    """The children of one worker: those without work, and the numbers of those with work. Any thread may use it."""

    def __init__(self, worker):
        self.worker = weakref.ref(worker)
        self.folder = worker.local_directory
        self.threads = worker.state.nthreads
        self.limit = (worker.memory_manager.memory_limit or 0) // self.threads
        self.lock = threading.Lock()  # guards what follows
        self.idle = []  # the last one used is the last one
        self.seats = set()
        self.verified = {}

    def take_seat(self):
        with self.lock:
            seat = min(set(range(len(self.seats) + 1)) - self.seats)
            self.seats.add(seat)
            return seat

    def leave_seat(self, seat):
        with self.lock:
            self.seats.remove(seat)

    def lease(self, batch, watch):
        """A child that has greeted, for the thread that calls."""
        path = os.path.join(self.folder, batch.program)
        self.verify(path, batch.digest)
        kind = (path, batch.setup_for(self.limit), tuple(sorted(batch.environment.items())))
        while True:
            child, surplus = self.take_idle(kind)
            for other in surplus:
                other.end()
            if child is None:
                return self.start(path, batch, kind, watch)
            if child.is_there():
                return child
            child.end()

    def take_idle(self, kind):
        with self.lock:
            fitting = [child for child in self.idle if child.kind == kind][-1:]
            for child in fitting:
                self.idle.remove(child)
            room = max(0, self.threads - len(self.seats))  # a child for each thread, this one has taken its seat
            surplus = self.idle[: max(0, len(self.idle) - room)]
            del self.idle[: len(surplus)]
            return (fitting[0] if fitting else None), surplus

    def give_back(self, child):
        child.idle_since = time.monotonic()
        with self.lock:
            self.idle.append(child)

    def verify(self, path, digest):
        """Only the client's own program is ever run. Looked at again when the file has changed."""
        try:
            with open(path, "rb") as file:
                facts = os.fstat(file.fileno())
                state = (facts.st_ino, facts.st_size, facts.st_mtime_ns, digest)
                if self.verified.get(path) == state:
                    return
                found = hashlib.sha256()
                for part in iter(lambda: file.read(1 << 20), b""):
                    found.update(part)
        except OSError as error:
            raise Ended("refused", "its file cannot be read: %s" % error)
        if found.hexdigest() != digest:
            raise Ended("refused", "its file has another digest: %s" % found.hexdigest())
        self.verified[path] = state

    def start(self, path, batch, kind, watch):
        try:
            child = keeper.child(path, batch.program, self.environment(batch), kind)
        except OSError as error:
            hint = {
                errno.ENOEXEC: " (it was built for another kind of machine)",
                errno.ENOENT: " (its loader is not there: another kind of machine, or another C library)",
                errno.EACCES: " (is the worker's local directory on a file system that is mounted noexec?)",
            }.get(error.errno, "")
            raise Ended("refused", "it cannot be started: %s%s" % (error.strerror, hint))
        try:
            child.send([kind[1]], watch)
            kind_of_frame, begin, hello = child.receive(watch)
            if kind_of_frame != HELLO:
                raise Ended("died")
        except Ended as error:
            child.end()
            if error.how != "died":
                raise
            silent = "; does its main call joblot::init(argc, argv)?" if child.status == (None, 0) else ""
            raise Ended("refused", "it %s before it was ready%s" % (child.last_words(), silent))
        except BaseException:
            child.end()
            raise
        if struct.unpack_from("=I", hello, begin + HELLO_FAILED_AT)[0]:
            child.end()
            raise Ended("refused", "its worker_init failed", frames=[hello])
        return child

    def environment(self, batch):
        """The worker's own, with a fair share of the CPUs for threads inside of tasks, and what the client says."""
        fair = max(1, len(os.sched_getaffinity(0)) // self.threads)
        return {**{name + "_NUM_THREADS": str(fair) for name in THREAD_LIMITS}, **os.environ, **batch.environment}

    def is_closed(self):
        worker = self.worker()
        return worker is None or worker.status.name in ("closing", "closed", "failed")

    def tidy(self):
        """Ends children that have had no work for long, or whose worker is closed, and lets others forget data."""
        oldest = time.monotonic() - IDLE
        closed = self.is_closed()
        with self.lock:
            ended = [child for child in self.idle if closed or child.idle_since < oldest]
            kept = [child for child in self.idle if child not in ended]
            self.idle = []
        for child in kept:
            try:
                child.forget_gone(at_once)
            except Ended:
                ended.append(child)
        with self.lock:
            self.idle = [child for child in kept if child not in ended] + self.idle
        for child in ended:
            child.end()


keeper = Keeper()


# --- one batch


def as_blob(value):
    return value if isinstance(value, Blob) else Blob([value])


def block_for(value, number):
    """A value of Python's own, as a blob for programs. Replaced by joblot_datasets.py."""
    return as_blob(value)


class Parts:
    """Reads bytes that are in several pieces, from the first to the last."""

    def __init__(self, pieces):
        self.pieces = collections.deque(memoryview(p).cast("B") for p in pieces)
        self.left = sum(p.nbytes for p in self.pieces)

    def take(self, size):
        taken = []
        while size:
            if not 0 < size <= self.left:
                raise ValueError("it ends too early")
            piece = self.pieces.popleft()
            taken.append(piece[:size])
            self.left -= taken[-1].nbytes
            size -= taken[-1].nbytes
            if taken[-1].nbytes < piece.nbytes:
                self.pieces.appendleft(piece[taken[-1].nbytes :])
        return b"".join(taken)

    def rest(self):
        self.left = 0
        return list(self.pieces)


class Batch:
    """What a payload says: see dask/batch_payload.hpp."""

    def __init__(self, payload, images):
        parts = Parts(payload.frames if isinstance(payload, Blob) else [payload])
        try:
            magic, size = struct.unpack("=8sI", parts.take(12))
            head = json.loads(parts.take(padded(12 + size, 8) - 12)[:size])
            self.setup = parts.take(head["setup_size"])
            whole = parts.left == head["run_size"]
            self.request = parts.take(head["worker_id_at"])
            self.program, self.digest = head["program"], head["digest"]
            self.timeout, self.ids, self.places = head["timeout_ns"], head["images"], head["places"]
            self.environment, self.is_watched, foreign = head["environment"], head["watched"], head["foreign"]
            self.worker_id = struct.unpack("=i", parts.take(4))[0]
            self.rest = parts.rest()  # large: as it came
            whole = whole and len(self.setup) >= 2 * FRAME.size and len(self.ids) == len(images)
            kinds = isinstance(self.ids, list) and isinstance(self.places, dict) and isinstance(self.environment, dict)
            kinds = kinds and isinstance(foreign, list)
            named = self.program == "joblot-" + self.digest[:16] and os.path.basename(self.program) == self.program
        except (ValueError, LookupError, TypeError, struct.error) as error:
            raise Ended("refused", "its batch does not make sense: %.200r" % error)
        if magic != MAGIC or not whole or not kinds or not named:
            raise Ended("refused", "its batch does not make sense")
        self.images = [block_for(i, n) if n in foreign else as_blob(i) for i, n in zip(images, self.ids)]

    def setup_for(self, limit):
        """The setup frame, with the smaller one of the client's memory limit and the worker's."""
        setup = bytearray(self.setup)
        asked = struct.unpack_from("=Q", setup, FRAME.size)[0]
        struct.pack_into("=Q", setup, FRAME.size, min(asked or limit, limit or asked))
        return bytes(setup)

    def request_of(self, address, seat):
        """The run frame, in pieces, for the worker that `places` numbers, and one of its threads."""
        return [self.request, struct.pack("=i", self.places.get(address, self.worker_id) + seat), *self.rest]


class Watch:
    """Asked while a thread waits for a child: whether the batch is wanted and in time, and when to ask again."""

    def __init__(self, worker, crew, timeout):
        self.tasks, self.key, self.crew, self.timeout = worker.state.tasks, worker.get_current_task(), crew, timeout

    def __call__(self, child):
        task = self.tasks.get(self.key)
        if task is None or task.state not in ("executing", "long-running") or self.crew.is_closed():
            raise Ended("cancelled")
        if not self.timeout:
            return POLL
        current, started = child.running()
        left = self.timeout if current is None else started + self.timeout - time.monotonic_ns()
        if left <= 0:
            raise Ended("timed_out", task=current)
        return min(POLL, left / 1e9)


class Progress:
    """Tells the client now and then how many tasks of a batch are done, where somebody watches."""

    def __init__(self, worker, is_watched):
        self.worker, self.key, self.is_watched = worker, worker.get_current_task(), is_watched
        self.next = time.monotonic() + TELL

    def __call__(self, done):
        now = time.monotonic()
        if self.is_watched and now >= self.next:
            self.next = now + TELL
            self.worker.log_event(TOPIC, {"key": self.key, "done": done})


def at_once(child):
    raise Ended("died")


def converse(child, batch, request, watch, frames, progress):
    """Lets a child run a batch. Gives how many of its tasks failed; `frames` gets the results as they come."""
    child.relay.tail = b""
    child.forget_gone(watch)
    child.give_images(batch.ids, batch.images, watch)
    child.send(request, watch)
    return take_results(child, watch, frames, progress)


def take_results(child, watch, frames, progress):
    while True:
        kind, begin, frame = child.receive(watch)
        if kind != RESULTS:
            raise Ended("died")
        frames.append(frame)
        _, first, count, last, failed, _ = RESULTS_HEAD.unpack_from(frame, begin)
        if last:
            return failed
        progress(first + count - failed)


def perform(crew, batch, watch, report, request, progress):
    """Runs a batch on a child. Fills in the report; gives the frames of results, and how many tasks failed."""
    while True:
        child, frames = crew.lease(batch, watch), []
        fresh, child.fresh = child.fresh, False
        report["pid"] = child.pid
        try:
            failed = converse(child, batch, request, watch, frames, progress)
        except Ended as error:
            end = error
        except BaseException:
            child.end()
            raise
        else:
            crew.give_back(child)
            return frames, failed
        child.kill()
        try:
            take_results(child, at_once, frames, progress)  # what it said before it was ended
        except Ended:
            pass
        child.end()
        current, _ = child.running()
        report["signal"], report["exit_status"] = child.status
        if end.how == "died" and current is None:
            if child.status == (None, NOT_OUR_CODE):
                raise Ended("refused", "it " + child.last_words())
            if not fresh and not frames:  # it had died before: nobody's fault
                continue
        report["end"] = end.how
        report["current"] = current if end.task in (None, current) else None
        report["stderr"] = child.relay.tail.decode(errors="replace")
        return frames, 0


def run(payload, *images):
    """Runs a batch of tasks of a C++ program.

    Gives a `Result`. Raises `TaskFailed` where a task of it failed, or the batch could not be run to its end: a
    dashboard shows that as the failure that it is. A batch that nobody wants any more fails silently.
    """
    report, frames, failed = execute(payload, images)
    result = result_of(report, frames)
    if report["end"] == "cancelled" or (report["end"] == "done" and not failed):
        return result
    raise TaskFailed(short_text(report, failed), bytes(result))


def execute(payload, images):
    """Runs a batch. Gives the report of it, the frames of results, and how many tasks failed."""
    worker = get_worker()
    address = worker.contact_address or worker.address
    report = {"end": "done", "signal": None, "exit_status": None, "current": None, "stderr": "", "why": None}
    report.update(worker=address, pid=None, key=key_text(worker.get_current_task()))
    frames, failed = [], 0
    crew = keeper.crew(worker)
    seat = crew.take_seat()
    try:
        batch = Batch(payload, images)
        watch = Watch(worker, crew, batch.timeout)
        progress = Progress(worker, batch.is_watched)
        frames, failed = perform(crew, batch, watch, report, batch.request_of(address, seat), progress)
    except Ended as error:
        report["end"], frames = error.how, list(error.frames)
        if error.how == "refused":
            report["why"] = "worker %s cannot run the program: %s" % (address, error.why)
    finally:
        crew.leave_seat(seat)
    return report, frames, failed


def key_text(key):
    return key if isinstance(key, str) else ""


def result_of(report, frames):
    head = json.dumps(report).encode()
    head = MAGIC + struct.pack("=I", len(head)) + head
    head = head.ljust(padded(len(head), 8), b"\0")
    return Result([head, *frames] if len(frames) < 100 else [head, b"".join(frames)])


def short_text(report, failed):
    if report["end"] == "done":
        return "%d of the batch's tasks failed" % failed
    if report["end"] == "refused":
        return report["why"]
    task = "a task" if report["current"] is None else "task %d" % report["current"]
    if report["end"] == "timed_out":
        return task + " took too long"
    how = "signal %s" % report["signal"] if report["signal"] else "exit status %s" % report["exit_status"]
    return "the program died in %s (%s): %s" % (task, how, report["stderr"][-500:])
