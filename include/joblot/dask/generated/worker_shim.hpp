// SPDX-License-Identifier: BSL-1.0
// Written by scripts/embed_shim.py from python/worker_shim/*.py: change those.
#pragma once

#include <string>
#include <string_view>

namespace joblot::dask::engine {

/// Name of the module on workers. Another version of it has another name, so a cluster can have several.
inline constexpr std::string_view worker_shim_module = "joblot_shim_e4d2d4d5";

/// Source of the module that runs on workers; its function `run` runs a batch.
inline std::string worker_shim_source() {
    // clang-format off
    static constexpr std::string_view parts[] = {
R"py(# SPDX-License-Identifier: BSL-1.0
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
)py",
R"py(        super().__init__(name="joblot-relay", daemon=True)
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
)py",
R"py(        self.retired = []  # children that are about to end, and when they must have

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
)py",
R"py(            return POLL
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


# SPDX-License-Identifier: BSL-1.0
"""What a Dask worker does with data of Python's for joblot: says what a published dataset is made of, hands blocks of it
to programs, and makes Python's data of their results. On workers it is the second part of the module joblot_shim.
"""

import inspect
import io
import json
import math
import pickle
import struct
import threading
import weakref

from distributed import get_worker
from distributed.core import connect
from distributed.protocol.compression import decompress
from distributed.publish import PublishExtension
from distributed.utils import sync

NUMERIC = "biufcmM"  # kinds of dtypes whose values are their bytes
IMAGE = struct.Struct("=QQQQ")  # magic, size of the stream, blocks, where the stream is: wire/segment.hpp
IMAGE_MAGIC = 0x6A6F626C6F745347
BLOCK = struct.Struct("=16sII")  # dtype, dimensions, 1: in Fortran's order; shape and content follow: wire/block.hpp
OUT_OF_BAND = 4096  # larger content is a block beside the stream, smaller one is part of it: wire/parcel.hpp
FORM = struct.Struct("=BI")  # 0, persisted_form::value; the value follows, aligned: persisted.hpp
NUMBERS = {"b1": "?", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "f4": "f", "f8": "d", "c8": "2f", "c16": "2d"}
OWN = {bool: (b"|b1", "=?"), int: (b"<i8", "=q"), float: (b"<f8", "=d"), complex: (b"<c16", "=2d")}
NUMBERS.update({"u" + name[1]: letter.upper() for name, letter in NUMBERS.items() if name[0] == "i"})


# --- blocks for programs


class Unfit(Exception):
    """A value that cannot be a block of a program's."""


def image_of(stream, blocks=()):
    """The frames of a message in memory."""
    stream_at = padded(IMAGE.size + 16 * len(blocks), 64)
    head = IMAGE.pack(IMAGE_MAGIC, len(stream), len(blocks), stream_at)
    frames, end = [], stream_at + len(stream)
    for block in blocks:
        begin = padded(end, 64)
        head += struct.pack("=QQ", begin, block.nbytes)
        frames += [bytes(begin - end), block]
        end = begin + block.nbytes
    return [head.ljust(stream_at, b"\0") + stream, *frames]


def image_with(header, content):
    """The same for a value with some content."""
    if content.nbytes >= OUT_OF_BAND:
        return Blob(image_of(header, [content]))
    return Blob(image_of(header.ljust(padded(len(header), 16), b"\0") + content))


def type_name(value):
    module, name = type(value).__module__, type(value).__qualname__
    return name if module == "builtins" else module + "." + name


def missing(why):
    text = why.encode()
    return Blob(image_of(BLOCK.pack(b"!", len(text), 0) + text))


def array_of(value):
    """A value's numbers as a numpy array that has them one after the other, in C's order or Fortran's."""
    import numpy  # workers that have none hold none

    dtype = getattr(value, "dtype", None)
    if hasattr(value, "to_numpy"):  # of pandas
        if hasattr(value, "columns"):
            raise Unfit("it is a table; publish single columns")
        dtype = getattr(dtype, "numpy_dtype", dtype)
        if getattr(value.dtype, "numpy_dtype", None) is not None and value.isna().any():
            raise Unfit("it is a column of %s with missing values" % value.dtype)
        if getattr(dtype, "kind", "O") not in NUMERIC:
            raise Unfit("it is a column of %s" % value.dtype)
        value = value.to_numpy(dtype=dtype)
    if isinstance(value, numpy.ma.MaskedArray):
        if numpy.ma.getmaskarray(value).any():
            raise Unfit("it is an array with masked elements")
        value = value.data
    if not isinstance(value, (numpy.ndarray, numpy.generic, bool, int, float, complex)):
        raise Unfit("it is a " + type_name(value))
    array = numpy.asarray(value)
    if array.dtype.hasobject or array.dtype.kind not in NUMERIC or array.dtype.char in "gG":
        raise Unfit("it has elements of dtype %s" % array.dtype)
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    return array if fortran else numpy.require(array, requirements="C")


def block_of(value):
    """A blob that a program reads as a `chunk`; of a value that is none, one that says why."""
    if type(value) in OWN:  # also where there is no numpy
        dtype, form = OWN[type(value)]
        if dtype == b"<i8" and value >= 2**63:
            dtype, form = b"<u8", "=Q"
        try:
            parts = (value.real, value.imag) if type(value) is complex else (value,)
            return image_with(BLOCK.pack(dtype, 0, 0), memoryview(struct.pack(form, *parts)))
        except struct.error:
            return missing("it is too large a number")
    if isinstance(value, (bytes, bytearray)):
        return image_with(BLOCK.pack(b"|u1", 1, 0) + struct.pack("=Q", len(value)), memoryview(value))
    try:
        array = array_of(value)
    except Unfit as error:
        return missing(str(error))
    fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    header = BLOCK.pack(array.dtype.str.encode(), array.ndim, fortran)
    header += struct.pack("=%dQ" % array.ndim, *array.shape)
    plain = (array.T if fortran else array).reshape(-1).view("u1")
    return image_with(header, memoryview(plain))


class Blocks:
    """The blobs of values that the worker has, each made once. Any thread may use it."""

    def __init__(self):
        self.lock = threading.Lock()
        self.known = {}

    def __call__(self, value, number):
)py",
R"py(        """@param number The block's, in programs."""
        with self.lock:
            if number in self.known and self.known[number][0]() is value:
                return self.known[number][1]
        blob = block_of(value)
        try:
            gone = weakref.ref(value, lambda _: self.known.pop(number, None))
        except TypeError:  # bytes and numbers are small, or few
            return blob
        with self.lock:
            self.known[number] = (gone, blob)
        return blob


block_for = Blocks()


def fetch_block(payload, value):
    """What a client gets of a value of Python's."""
    return Result(block_of(value).frames)


def fetch_message(payload, value):
    """The same of one that `value_of` left as it was."""
    return Result([value])


# --- results of programs as data of Python's


def run_persisted(payload, *images):
    """As `run`, for one task whose result, is persisted on the cluster. Gives that as Python's data."""
    report, frames, failed = execute(payload, images)
    if report["end"] == "done" and not failed:
        return result_in(frames)
    raise TaskFailed(short_text(report, failed), bytes(result_of(report, frames)))


def result_in(frames):
    """The value of the one result in frames of results."""
    stream, blocks = part_in(frames)
    return value_of(stream[padded(FORM.size, 16) :], blocks)


def part_in(frames):
    """What frames of results say of the one task: a stream, and blocks."""
    for frame in frames:
        _, _, stream, blocks, _ = FRAME.unpack_from(frame)
        at = padded(FRAME.size + 16 * blocks, 64)
        if not RESULTS_HEAD.unpack_from(frame, at)[2]:  # none is in it
            continue
        view, begin = memoryview(frame), at + RESULTS_HEAD.size + PART.size
        size = PART.unpack_from(frame, at + RESULTS_HEAD.size)[0]
        content, end = [], padded(at + stream, 64)
        for length, _ in struct.iter_unpack("=QQ", view[FRAME.size : FRAME.size + 16 * blocks]):
            content.append(view[end : end + length])
            end = padded(end + length, 64)
        return view[begin : begin + size], content
    raise RuntimeError("joblot: a program gave no result")


def value_of(stream, blocks):
    """A number, bytes or a numpy array; of another result, bytes that only a program of the same build can read."""
    dtype, dimensions, _ = BLOCK.unpack_from(stream)
    dtype = dtype.rstrip(b"\0").decode()
    if dtype == "O":
        return b"".join(image_of(bytes(stream), blocks))
    shape = struct.unpack_from("=%dQ" % dimensions, stream, BLOCK.size)
    content = blocks[0] if blocks else stream[padded(BLOCK.size + 8 * dimensions, 16) :]
    if dtype == "bytes":
        return bytes(content[: shape[0]])
    if not shape:
        parts = struct.unpack_from("=" + NUMBERS[dtype[1:]], content)
        return complex(*parts) if dtype[1] == "c" else parts[0]
    return array_from(content, dtype, shape)


def array_from(content, dtype, shape):
    try:
        import numpy
    except ImportError:
        raise RuntimeError("joblot: a result that is an array needs numpy on the workers, and it is not there")
    size = math.prod(shape)
    array = numpy.frombuffer(content, dtype, size).reshape(shape)
    return array if content.nbytes >= OUT_OF_BAND else array.copy()  # not to keep all that came with it


# --- what a dataset is made of


class Part:
    """Stands for a Future while a dataset is read: a real one would need a client, and make it want the key."""

    def __init__(self, key=None, *ignored):
        self.key = key

    def __setstate__(self, state):  # until 2023: the key, and the scheduler's address
        self.key = state[0]

    def __dask_tokenize__(self):
        return "joblot-part", self.key


class Reader(pickle.Unpickler):
    def find_class(self, module, name):
        if module == "distributed.client" and name in ("Future", "Future.make_future"):
            return Part
        return super().find_class(module, name)


async def ask(worker, name):
    """What the scheduler has published under a name, as it came; None: nothing."""
    several = "names" in inspect.signature(PublishExtension.get).parameters  # from 2026.6.0 on
    comm = await connect(worker.scheduler.address, deserialize=False, **worker.connection_args)
    try:
        which = {"names": [name]} if several else {"name": name, "client": None}
        await comm.write({"op": "publish_get", "reply": True, **which})
        answer = await comm.read()
    finally:
        await comm.close()
    if isinstance(answer, dict) and answer.get("status") in ("error", "uncaught-error"):
        raise RuntimeError("publish_get: %s" % answer.get("text", answer))
    return answer[0] if several else answer


def read(header, frames):
    """The published object, from what Dask's `serialize` made of it."""
    frames = list(decompress(header, list(frames)) if "compression" in header else frames)
    counts = header.get("split-num-sub-frames")
    if counts:  # large frames were cut
        places = zip(counts, header["split-offsets"])
        frames = [b"".join(bytes(f) for f in frames[at : at + n]) for n, at in places]
    if header.get("is-collection"):
        parts, at = [], 0
        for sub, n in zip(header["sub-headers"], header["frame-lengths"]):
            parts.append((sub.get("key"), read(sub, frames[at : at + n])))
            at += n
        return dict(parts) if header["type-serialized"] == "dict" else [value for _, value in parts]
    if header.get("serializer") != "pickle":
        return None
    return Reader(io.BytesIO(bytes(frames[0])), buffers=[bytearray(f) for f in frames[1:]]).load()


class Keys:
    """Finds the scheduler's keys of a collection's blocks."""

    def __init__(self, published, graph):
        self.published = {key: key for key in published}
        self.published.update({str(key): key for key in published})
        self.graph = graph

    def exact(self, key):  # until 2023.8 the scheduler has texts where collections have tuples
        return self.published.get(key, self.published.get(str(key)))

    def of(self, key):
        """None where the block is not there, but would have to be computed."""
        seen = set()
        while key not in seen:
            seen.add(key)
            value = self.graph.get(key)
            value = getattr(value, "value", value)  # of a DataNode
            if isinstance(value, Part):
                return self.exact(value.key)
            value = getattr(value, "target", value)  # of an Alias
            if not isinstance(value, (str, tuple)) or any(callable(v) for v in value if isinstance(value, tuple)):
                return None
            key = value
        return None


def flat(keys):
    for key in keys:
        if isinstance(key, list):
            yield from flat(key)
        else:
            yield key


def number(n):
    return None if n != n else int(n)  # nan: not known


def facts_of(value, published):
    """What there is to know of a published object."""
    if isinstance(value, Part):
        return {"kind": "value", "keys": [Keys(published, {}).exact(value.key)]}
    if isinstance(value, (list, tuple)) and value and all(isinstance(v, Part) for v in value):
        known = Keys(published, {})
        return {"kind": "list", "keys": [known.exact(v.key) for v in value]}
    if not hasattr(value, "__dask_keys__"):
        return {"kind": "other", "type": type_name(value)}
    known = Keys(published, dict(value.__dask_graph__()))
    facts = {"keys": [known.of(key) for key in flat(value.__dask_keys__())]}
    if type(value).__name__ == "Delayed":  # it has every attribute
        return {"kind": "value", **facts}
    if hasattr(value, "chunks") and hasattr(value, "dtype"):
        chunks = [[number(n) for n in axis] for axis in value.chunks]
        return {"kind": "array", "dtype": value.dtype.str, "chunks": chunks, **facts}
    meta = getattr(value, "_meta", None)
    if hasattr(meta, "columns"):
        return {"kind": "table", "columns": [str(c) for c in meta.columns], **facts}
    if hasattr(meta, "to_numpy"):
        dtype = getattr(meta.dtype, "numpy_dtype", meta.dtype)
        return {"kind": "column", "dtype": getattr(dtype, "str", str(dtype)), **facts}
    return {"kind": "list", **facts}


def describe(payload):
    """What a C++ client is told of a published dataset, as JSON; `payload` is its name."""
    worker = get_worker()
    answer = sync(worker.loop, ask, worker, bytes(payload).decode())
    if answer is None:
        return b'{"kind": "none"}'
    value = read(answer["data"].header, answer["data"].frames)
    return json.dumps(facts_of(value, answer["keys"])).encode()


# SPDX-License-Identifier: BSL-1.0
"""Functions of C++ programs as Dask's workers call them for Python: see python/joblot.py. On workers it is the last part
of the module joblot_shim.
"""

import base64
import inspect

from distributed import get_worker

NAMES = {"b": "bool", "i": "int", "u": "uint", "f": "float", "c": "complex"}
EXCEPTIONS = {
    "std::invalid_argument": ValueError,
    "std::domain_error": ValueError,
    "std::out_of_range": IndexError,
    "std::overflow_error": OverflowError,
    "std::bad_alloc": MemoryError,
}


def type_text(facts):
    """A type as a signature shows it: "float64", "float32[:, 3]", "bytes"."""
    if facts["kind"] in ("bytes", "none"):
        return {"bytes": "bytes", "none": "None"}[facts["kind"]]
    dtype = facts["dtype"]
    name = "bool" if dtype == "|b1" else NAMES[dtype[1]] + str(8 * int(dtype[2:]))
    if facts["kind"] == "number":
        return name
    shape = "..." if facts["shape"] is None else ", ".join(":" if n is None else str(n) for n in facts["shape"])
    return "%s[%s]" % (name, shape)


class Function:
    """A function of a C++ program: `client.map(function, blocks)`, `array.map_blocks(function, dtype=float)`.

    Workers run it in processes of the program; arguments that are arrays of another dtype, or of another shape, are a
    `TypeError` before that. What the function throws is raised: `std::invalid_argument` as `ValueError`,
    `std::out_of_range` as `IndexError`, others as `RuntimeError`, and that it crashed, too.
    """

    def __init__(self, facts):
        self.facts = facts
        self.payload = base64.b64decode(facts["payload"])
        self.__name__ = self.__qualname__ = facts["name"]
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        parameters = [inspect.Parameter(p["name"], kind, annotation=type_text(p)) for p in facts["parameters"]]
        self.__signature__ = inspect.Signature(parameters, return_annotation=type_text(facts["result"]))

    def __repr__(self):
        parameters = ("%s: %s" % (p["name"], type_text(p)) for p in self.facts["parameters"])
        return "<C++ function %s(%s) -> %s>" % (self.__name__, ", ".join(parameters), type_text(self.facts["result"]))

    def __reduce__(self):
        return Function, (self.facts,)

    def __dask_tokenize__(self):
        return "joblot", self.facts["digest"], self.__name__

    def __call__(self, *args, **kwargs):
        values = self.check(*args, **kwargs)
        try:
            get_worker()
        except ValueError:
            raise RuntimeError(
                "%s() runs on Dask's workers: client.submit(%s, ...), or client.map" % (self.__name__, self.__name__)
            )
        report, frames, failed = execute(self.payload, values)
        if report["end"] == "refused":
            raise RuntimeError(report["why"])
        if report["end"] == "missing":  # only a client can bring it
            raise RuntimeError(report["why"] + "; joblot.function(...) in the client brings it there again")
        if report["end"] != "done":
            report["current"] = None  # there is one task only
            raise RuntimeError("%s(): %s" % (self.__name__, short_text(report, failed)))
        if failed:
            raise exception_in(frames)
)py",
R"py(        return None if self.facts["result"]["kind"] == "none" else result_in(frames)

    def check(self, *args, **kwargs):
        """The arguments, in order. Raises `TypeError` where they are not what the function takes."""
        try:
            bound = self.__signature__.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError("%s(): %s" % (self.__name__, error)) from None
        parameters = self.facts["parameters"]
        return [self.checked(facts, bound.arguments[facts["name"]]) for facts in parameters]

    def checked(self, facts, value):
        why = mismatch(facts, value)
        if why:
            name, wanted = facts["name"], type_text(facts)
            raise TypeError("%s(): argument '%s' must be %s, and %s" % (self.__name__, name, wanted, why))
        return value.item() if facts["kind"] == "number" and hasattr(value, "item") else value


def mismatch(facts, value):
    """Why a value is not what a parameter takes; None where it is."""
    if facts["kind"] == "bytes":
        return None if isinstance(value, (bytes, bytearray)) else "it is a " + type_name(value)
    if type(value) in OWN:
        array, dtype, shape = None, OWN[type(value)][0].decode(), ()
    elif isinstance(value, (bytes, bytearray)):
        array, dtype, shape = value, "|u1", (len(value),)
    else:
        try:
            array = array_of(value)
        except Unfit as error:
            return str(error)
        dtype, shape = array.dtype.str, array.shape
    if facts["kind"] == "number":
        if shape:
            return "it is an array"
        return number_mismatch(facts["dtype"], dtype, value)
    if not shape and facts["shape"] is not None:
        return "it is a single number"
    if dtype != facts["dtype"]:
        return "it is %s" % type_text({"kind": "array", "dtype": dtype, "shape": [None] * len(shape)})
    wanted = facts["shape"]
    if wanted is None or len(wanted) == len(shape) and all(n in (None, m) for n, m in zip(wanted, shape)):
        if wanted is not None and len(shape) > 1 and not array.flags.c_contiguous:
            return "it is in the order of Fortran (numpy.ascontiguousarray changes that)"
        return None
    return "it has shape %s" % (shape,)


def number_mismatch(wanted, dtype, value):
    if dtype == wanted:
        return None
    order = "biufc"
    kind, other = wanted[1], dtype[1]
    if kind == "b" or other == "b" or other not in order or (order.index(other) > order.index(kind) and other in "fc"):
        return "it is a " + type_name(value)
    if kind in "iu":
        bits = 8 * int(wanted[2:])
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if kind == "i" else (0, 2**bits - 1)
        if not low <= int(value) <= high:
            return "it is %s" % value
    return None


def exception_in(frames):
    """What the function threw."""
    stream, blocks = part_in(frames)
    texts, at, blocks = [], 0, list(blocks)
    for _ in range(3):  # encode_exception of wire/remote_exception.hpp
        size = int.from_bytes(stream[at : at + 8], "little")
        at += 8
        if size >= OUT_OF_BAND:
            texts.append(bytes(blocks.pop(0)))
        else:
            texts.append(bytes(stream[at : at + size]))
            at += size
    _, name, what = (text.decode(errors="replace") for text in texts)
    return EXCEPTIONS[name](what) if name in EXCEPTIONS else RuntimeError(name + (": " + what if what else ""))
)py"
    };
    // clang-format on
    std::string all;
    for (const std::string_view part : parts) all += part;
    return all;
}

} // namespace joblot::dask::engine
