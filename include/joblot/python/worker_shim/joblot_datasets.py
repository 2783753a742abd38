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

import joblot_shim
from distributed import get_worker
from distributed.core import connect
from distributed.protocol.compression import decompress
from distributed.publish import PublishExtension
from distributed.utils import sync
from joblot_shim import FRAME, PART, RESULTS_HEAD, Blob, Result, TaskFailed, execute, padded, result_of, short_text

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
        """@param number The block's, in programs."""
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


joblot_shim.block_for = Blocks()


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
