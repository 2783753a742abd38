# SPDX-License-Identifier: BSL-1.0
"""What a Dask worker runs for joblot: hands batches of tasks to the user's own program, one child process per thread.

A client sends this module to the workers (`Program`) and to the scheduler (`Source`), then submits `run(payload, *images)`.
"""

import array
import asyncio
import collections
import concurrent.futures
import contextlib
import errno
import fcntl
import hashlib
import itertools
import json
import mmap
import os
import pickle
import queue
import select
import signal
import socket
import stat
import struct
import sys
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
MOST_BYTES = 1 << 46  # of a frame, as in wire/frame.hpp: what announces more is none
TAKEN_AT_ONCE = 1 << 20
SENDER = struct.Struct("=iII")  # ucred: process, user, group
SOCKET, BOARD, LIFELINE = 3, 4, 7  # the numbers that a child wants: process/worker_config.hpp
HELLO_FAILED_AT = 28  # worker_hello::failed of wire/worker_greeting.hpp
NOT_OUR_CODE = 78  # exit status of a program that was sent what it has no code for: process/hosted_main.hpp
POLL = 0.1  # seconds between looks at whether a task is still wanted
IDLE = 60.0  # seconds that a child without work is kept
GRACE = 5.0  # seconds that one which is not needed any more has for its destructors
ON_ITS_WAY = 10.0  # seconds that a program may be on its way from another client, and the worker know nothing of it
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
                descriptor = memory_file("joblot-broadcast", os.MFD_ALLOW_SEALING)
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


class NotTaken(RuntimeError):
    """A worker cannot take the program; says which file, and why."""

    def __repr__(self):  # what a client is shown
        return str(self)


class Program(WorkerPlugin):
    """Puts the user's executable into the worker's own folder, unless it is there."""

    busy = True  # until it is there, or cannot be put there

    def __init__(self, name, digest, data):
        self.name, self.digest, self.data = name, digest, data

    async def setup(self, worker):
        try:
            await offload(self.store, os.path.join(worker.local_directory, self.name))
        finally:
            self.data, self.busy = None, False

    async def teardown(self, worker):
        await offload(keeper.dismiss, worker)

    def store(self, path):
        if self.data is None or trouble_with(path, self.digest) is None:
            return
        try:
            write_file(path, self.data)
        except OSError as error:
            raise NotTaken("%s cannot be written: %s" % (path, error.strerror)) from None


class Ready(WorkerPlugin):
    """Fails unless a worker has what a `Program` brings it. Waits while one is about to."""

    def __init__(self, name, digest, plugin):
        self.name, self.digest, self.plugin = name, digest, plugin

    async def setup(self, worker):
        path = os.path.join(worker.local_directory, self.name)
        patience = time.monotonic() + ON_ITS_WAY
        while True:
            program = worker.plugins.get(self.plugin)
            waits = program.busy if program else time.monotonic() < patience
            why = await offload(trouble_with, path, self.digest)
            if why is None:
                return
            if not waits:
                raise NotTaken(why)
            await asyncio.sleep(0.05)


verified = {}  # path: the state of its file, and the digest that it has


def trouble_with(path, digest):
    """Why a file is not the program with that digest; None where it is."""
    try:
        with verified_program(path, digest):
            return None
    except NotTaken as why:
        return str(why)


@contextlib.contextmanager
def verified_program(path, digest):
    """A descriptor of the program with that digest: whatever the path leads to later, this is what was verified.

    Raises NotTaken. Reads the file again only when it has changed.
    """
    with contextlib.ExitStack() as opened:
        try:
            descriptor = above(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
            opened.callback(os.close, descriptor)
            verify(descriptor, path, digest)
        except OSError as error:
            raise NotTaken("%s cannot be read: %s" % (path, error.strerror)) from None
        yield descriptor


def verify(descriptor, path, digest):
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode) or not facts.st_mode & stat.S_IXUSR:
        raise NotTaken("%s is %s: no program" % (path, stat.filemode(facts.st_mode)))
    state = state_of(facts, digest)
    if verified.get(path) == state:
        return
    found = hashlib.sha256()
    for part in iter(lambda: os.read(descriptor, 1 << 20), b""):
        found.update(part)
    if found.hexdigest() != digest:
        raise NotTaken("%s has another digest: %s" % (path, found.hexdigest()))
    if state_of(os.fstat(descriptor), digest) != state:
        raise NotTaken("%s has changed while it was read" % path)
    verified[path] = state


def state_of(facts, digest):
    """The time of a change of any kind is the kernel's: no cleaner or copier sets it back."""
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, digest


def write_file(path, data):
    """Makes an executable file, whole or not at all."""
    os.makedirs(os.path.dirname(path), exist_ok=True)  # cleaners take folders, too
    fresh = "%s.%d.%d" % (path, os.getpid(), threading.get_ident())
    try:
        descriptor = above(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o700))
        try:
            write_all(descriptor, data)
            os.fsync(descriptor)  # some file systems say only now that they are full
        finally:
            os.close(descriptor)
        os.rename(fresh, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(fresh)
        raise


def write_all(descriptor, data):
    data = memoryview(data)
    while data.nbytes:
        data = data[os.write(descriptor, data) :]


def above(descriptor):
    """The same behind the standard ones and those that a child wants: a worker may have been started without these."""
    if descriptor > LIFELINE:
        return descriptor
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, LIFELINE + 1)
    finally:
        os.close(descriptor)


def occupy_standard_numbers():
    """No descriptor of this process gets one of them from now on: Python's own, as those of mmap, take the lowest."""
    while True:
        descriptor = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        if descriptor > 2:
            os.close(descriptor)
            return


occupy_standard_numbers()


def memory_file(name, flags=0):
    return above(os.memfd_create(name, os.MFD_CLOEXEC | flags))


def pipe():
    reading, writing = os.pipe()
    try:
        reading = above(reading)  # where that fails it is closed
    except BaseException:
        os.close(writing)
        raise
    try:
        return reading, above(writing)
    except BaseException:
        os.close(reading)
        raise


# --- one child process


class Lifeline:
    """A pipe that nobody writes to: when its writing end is closed, which the system does however a worker ends, it
    sends SIGKILL to children, also to those that have changed their user. See process/lifeline.hpp."""

    def __init__(self):
        self.reading, self.writing = pipe()
        os.register_at_fork(after_in_child=self.leave)

    def leave(self):
        """In a process that the worker forked: the end is to close with the worker alone."""
        if self.writing is not None:
            os.close(self.writing)
            self.writing = None


lifeline = Lifeline()


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
        # Python knows what it was started without. The number is another file's then.
        self.pipes = {out: (1 if sys.__stdout__ else None, bytearray()), err: (2 if sys.__stderr__ else None, bytearray())}
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
            if to is not None:
                with self.turn:
                    write_all(to, bytes(begun[:end]))
        except OSError:
            pass  # it was closed
        del begun[:end]
        if not data:
            poll.unregister(pipe)
            os.close(pipe)
            del self.pipes[pipe]


def pipe_for(kept, given):
    reading, writing = pipe()
    kept.callback(os.close, reading)
    given.callback(os.close, writing)
    return reading, writing


def socket_pair():
    """A worker's end, which tells who has sent what, and a child's."""
    ours, theirs = (socket.socket(fileno=above(s.detach())) for s in socket.socketpair())
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    return ours, theirs


class Child:
    """The program as a child process. For the thread that has leased it; the keeper starts it."""

    def __init__(self, program, name, environment, kind):
        """`program` is a descriptor."""
        self.kind = kind  # children of one kind can stand in for each other
        self.files = weakref.WeakValueDictionary()  # broadcast values that it has, by id
        self.ids = set()
        self.fresh = True
        self.idle_since = 0.0
        self.status = None
        self.broken = False
        self.sequence = 0  # of the batch that it was sent last: no number is used twice
        with contextlib.ExitStack() as kept, contextlib.ExitStack() as given:
            board = memory_file("joblot-board")
            given.callback(os.close, board)
            self.link, end = socket_pair()
            kept.callback(self.link.close)
            given.callback(end.close)
            (out, out_end), (err, err_end) = (pipe_for(kept, given) for _ in range(2))
            os.ftruncate(board, mmap.PAGESIZE)
            self.board = memoryview(mmap.mmap(board, mmap.PAGESIZE)).cast("Q")
            self.board[0] = self.board[2] = NOTHING  # task_board: current, started, limit, consumed
            wanted = [(end.fileno(), SOCKET), (board, BOARD), (lifeline.reading, LIFELINE), (out_end, 1), (err_end, 2)]
            actions = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
            actions += [(os.POSIX_SPAWN_DUP2, source, number) for source, number in wanted]
            path = "/proc/self/fd/%d" % program  # read in the child, which closes it when it becomes the program
            self.pid = spawn(path, [name, "--joblot-hosted=%d" % os.getpid()], environment, actions)
            kept.callback(self.kill)
            self.link.setblocking(False)
            self.poll = select.poll()
            self.relay = Relay(out, err)
            kept.pop_all()

    def wait(self, events, attend):
        """Waits for the socket, without the interpreter's lock."""
        self.poll.register(self.link, events)
        while not self.poll.poll(1000 * attend(self)):
            # Where a process that it started has the socket, too, that says nothing of its end. Polled once more, as it
            # may have sent something before.
            if self.has_ended() and not self.poll.poll(0):
                raise Ended("died")

    def send(self, pieces, attend, descriptors=()):
        files = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        left = collections.deque(memoryview(p).cast("B") for p in pieces if len(p))
        try:
            while left:
                try:
                    sent = self.link.sendmsg(list(itertools.islice(left, 512)), files, socket.MSG_NOSIGNAL)
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

    def fill(self, frame, at, attend):
        """The rest of a frame, from `at` on."""
        while at < len(frame):
            try:
                got, sender = self.receive_some(frame, at)
            except BlockingIOError:
                self.wait(select.POLLIN, attend)
                continue
            except ConnectionError:
                got, sender = 0, self.pid
            if got == 0:
                raise Ended("died")
            if sender == self.pid:
                at += got
            else:
                attend(self)  # that may never end

    def receive_some(self, frame, at):
        """How many bytes came, and from which process: one that a task forked has the child's socket, but no say.

        The system never gives the bytes of two processes together. No files: there is no room for them. Views are
        released at once, as Dask's profiler may keep this function's variables, and the frame is to grow.
        """
        with memoryview(frame) as whole, whole[at:] as rest:
            got, attached, _, _ = self.link.recvmsg_into([rest], socket.CMSG_SPACE(SENDER.size))
        for level, kind, data in attached:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                return got, SENDER.unpack(data[: SENDER.size])[0]
        return got, None

    def take(self, frame, size, attend):
        """So many more bytes of a frame. Memory is taken as they come: a broken child may announce any number."""
        end = len(frame) + size
        while len(frame) < end:
            have = len(frame)
            frame.extend(bytes(min(end - have, max(have, TAKEN_AT_ONCE))))
            self.fill(frame, have, attend)

    def receive(self, attend):
        """The next frame: its kind, where its stream begins, and all of its bytes."""
        frame = bytearray()
        self.take(frame, FRAME.size, attend)
        magic, kind, stream, blocks, _ = FRAME.unpack(frame)
        table = 16 * blocks
        if magic != FRAME_MAGIC or kind not in (HELLO, RESULTS) or max(stream, table) > MOST_BYTES:
            self.is_broken()
        self.take(frame, padded(table, 64), attend)
        begin, size = len(frame), padded(stream, 64)
        for length, place in struct.iter_unpack("=QQ", bytes(frame[FRAME.size : FRAME.size + table])):
            size += padded(length, 64) if place == IN_FRAME else 0
        if size > MOST_BYTES:
            self.is_broken()
        self.take(frame, size, attend)
        return kind, begin, frame

    def is_broken(self):
        """What it says makes no sense: its memory has been overwritten."""
        self.broken = True
        self.kill()
        raise Ended("died")

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
        """Whether one without work can be given some: not when it has hung up, died, or says what nobody asked for."""
        self.poll.register(self.link, select.POLLIN)
        return not self.poll.poll(0) and not self.has_ended()

    def has_ended(self):
        if self.status is not None:
            return True
        try:  # its number stays its own
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            return True  # somebody else has waited for it

    def kill(self):
        """Ends the process, if it has not ended yet. What it sent before can still be received."""
        if self.status is not None:
            return
        gone = self.has_ended()
        self.status = (None, None)
        try:
            if not gone:
                os.kill(self.pid, signal.SIGKILL)  # its number is its own until it is waited for
            status = os.waitpid(self.pid, 0)[1]
            self.status = (os.WTERMSIG(status), None) if os.WIFSIGNALED(status) else (None, os.WEXITSTATUS(status))
        except OSError:
            pass  # somebody else waits for all children

    def let_end(self):
        """Gives a process whose socket is closed the time to end by itself: its destructors run, its status tells."""
        with contextlib.suppress(OSError):
            self.link.shutdown(socket.SHUT_WR)  # it may wait for us
        late = time.monotonic() + GRACE
        while not self.has_ended() and time.monotonic() < late:
            time.sleep(0.01)

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
        self.lock = threading.Lock()  # guards what follows
        self.retired = []  # children that are about to end, and when they must have

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
                self.fulfil(*self.wishes.get(timeout=1))  # no name here keeps the last child
            except queue.Empty:
                pass
            if time.monotonic() - tidied > 1:
                self.tidy()
                tidied = time.monotonic()

    def retire(self, children):
        """Lets children end that are not needed any more: their destructors run, and `atexit` functions."""
        late = time.monotonic() + GRACE
        for child in children:
            child.link.close()  # that it notices
        with self.lock:
            self.retired += [(child, late) for child in children]

    def bury(self):
        """Takes note of the ends of those that were retired, ends those that take too long. Whether none is left."""
        with self.lock:
            over = [r for r in self.retired if r[0].has_ended() or time.monotonic() > r[1]]
            self.retired = [r for r in self.retired if r not in over]
            left = bool(self.retired)
        for child, _ in over:
            child.end()
        return not left

    def dismiss(self, worker):
        """Called when a worker ends: what is done without one's own doing when its process ends is SIGKILL."""
        with self.lock:
            crew = self.crews.get(worker)
        if crew is None or not crew.is_closed():
            return
        crew.tidy()
        while not self.bury():
            time.sleep(0.01)

    def tidy(self):
        self.bury()
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
        kind = (path, batch.setup_for(self.limit), tuple(sorted(batch.environment.items())))
        with contextlib.ExitStack() as opened:
            try:  # only the client's own program is ever run
                program = opened.enter_context(verified_program(path, batch.digest))
            except NotTaken as why:
                raise Ended("missing", str(why))
            while True:
                child, surplus = self.take_idle(kind)
                keeper.retire(surplus)
                if child is None:
                    return self.start(program, batch, kind, watch)
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

    def start(self, program, batch, kind, watch):
        try:
            child = keeper.child(program, batch.program, self.environment(batch), kind)
        except RuntimeError as error:  # no thread for what it writes
            raise Ended("refused", "it cannot be started: %s" % error)
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
            if error.how == "died":
                child.let_end()
            child.end()
            if error.how != "died":
                raise
            silent = "; does its main call joblot::init(argc, argv)?" if child.status == (None, 0) else ""
            raise Ended("refused", "it %s before it was ready%s" % (child.last_words(), silent))
        except BaseException:
            child.end()
            raise
        if struct.unpack_from("=I", hello, begin + HELLO_FAILED_AT)[0]:
            keeper.retire([child])
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
            ended = [child for child in self.idle if not child.is_there()]
            retired = [child for child in self.idle if child not in ended and (closed or child.idle_since < oldest)]
            kept = [child for child in self.idle if child not in ended + retired]
            self.idle = []
        keeper.retire(retired)
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
    """What a payload says: see dask/protocol/batch_payload.hpp."""

    def __init__(self, payload, images):
        parts = Parts(payload.frames if isinstance(payload, Blob) else [payload])
        try:
            magic, size = struct.unpack("=8sI", parts.take(12))
            head = json.loads(parts.take(padded(12 + size, 8) - 12)[:size])
            self.setup = parts.take(head["setup_size"])
            whole = parts.left == head["run_size"]
            self.request = bytearray(parts.take(head["worker_id_at"]))
            self.sequence_at = FRAME.size + padded(16 * FRAME.unpack_from(self.request)[3], 64)  # of run_request
            self.sequence = struct.unpack_from("=Q", self.request, self.sequence_at)[0]
            self.program, self.digest = head["program"], head["digest"]
            self.timeout, self.ids, self.places = head["timeout_ns"], head["images"], head["places"]
            self.environment, self.is_watched, foreign = head["environment"], head["watched"], head["foreign"]
            self.worker_id = struct.unpack("=i", parts.take(4))[0]
            self.rest = parts.rest()  # large: as it came
            whole = whole and len(self.setup) >= 2 * FRAME.size and len(self.ids) == len(images)
            kinds = isinstance(self.ids, list) and isinstance(self.places, dict) and isinstance(self.environment, dict)
            kinds = kinds and isinstance(foreign, list)
            named = self.program == "joblot-" + self.digest[:16] and os.path.basename(self.program) == self.program
        except (ValueError, LookupError, TypeError, OverflowError, struct.error) as error:
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

    def __init__(self, worker, crew, timeout, progress):
        self.tasks, self.key, self.crew, self.timeout = worker.state.tasks, worker.get_current_task(), crew, timeout
        self.progress = progress

    def __call__(self, child):
        self.progress.tell()
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
        self.done = self.told = 0
        self.next = time.monotonic() + TELL

    def __call__(self, done):
        self.done = done
        self.tell()

    def tell(self):
        """To be called again and again: what came too soon is told when its time has come."""
        now = time.monotonic()
        if self.is_watched and self.done > self.told and now >= self.next:
            self.told, self.next = self.done, now + TELL
            self.worker.log_event(TOPIC, {"key": self.key, "done": self.done})


def at_once(child):
    raise Ended("died")


def last_look():
    """For what a child said before it ended: does not wait, and has an end also where a copy of it goes on speaking."""
    late = time.monotonic() + 1

    def attend(child):
        if time.monotonic() > late:
            raise Ended("died")
        return 0

    return attend


def converse(child, batch, request, watch, frames, progress):
    """Lets a child run a batch. Gives how many of its tasks failed; `frames` gets the results as they come."""
    child.relay.tail = b""
    child.forget_gone(watch)
    child.give_images(batch.ids, batch.images, watch)
    child.sequence += 1
    struct.pack_into("=Q", batch.request, batch.sequence_at, child.sequence)  # the first piece of the request
    child.send(request, watch)
    return take_results(child, batch, watch, frames, progress)


def take_results(child, batch, watch, frames, progress):
    while True:
        kind, begin, frame = child.receive(watch)
        if kind != RESULTS or len(frame) < begin + RESULTS_HEAD.size:
            child.is_broken()
        sequence, first, count, last, failed, _ = RESULTS_HEAD.unpack_from(frame, begin)
        if sequence != child.sequence:  # an answer to another batch
            child.is_broken()
        struct.pack_into("=Q", frame, begin, batch.sequence)  # as the client numbers it
        frames.append(frame)
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
        if end.how == "died":
            child.let_end()
        child.kill()
        try:
            take_results(child, batch, last_look(), frames, progress)  # what it said before it was ended
        except Ended:
            pass
        child.end()
        current, _ = child.running()
        report["signal"], report["exit_status"] = child.status
        if end.how == "died" and current is None:
            if child.status == (None, NOT_OUR_CODE):
                raise Ended("refused", "it " + child.last_words())
            if not fresh and not frames and not child.broken:  # it had died before: nobody's fault
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
        progress = Progress(worker, batch.is_watched)
        watch = Watch(worker, crew, batch.timeout, progress)
        frames, failed = perform(crew, batch, watch, report, batch.request_of(address, seat), progress)
    except Ended as error:
        report["end"], frames = error.how, list(error.frames)
        if error.how in ("refused", "missing"):
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
    if report["end"] in ("refused", "missing"):
        return report["why"]
    task = "a task" if report["current"] is None else "task %d" % report["current"]
    if report["end"] == "timed_out":
        return task + " took too long"
    how = "signal %s" % report["signal"] if report["signal"] else "exit status %s" % report["exit_status"]
    return "the program died in %s (%s): %s" % (task, how, report["stderr"][-500:])
