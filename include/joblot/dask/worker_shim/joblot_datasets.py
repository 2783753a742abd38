# SPDX-License-Identifier: BSL-1.0
"""What a Dask worker does with data of Python's for joblot: says what a published dataset is made of, and hands blocks
of it to programs. On workers it is the second half of the module joblot_shim.
"""

import inspect
import io
import json
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
from joblot_shim import Blob, padded

NUMERIC = "biufcmM"  # kinds of dtypes whose values are their bytes
IMAGE = struct.Struct("=QQQQ")  # magic, size of the stream, blocks, where the stream is: wire/segment.hpp
IMAGE_MAGIC = 0x6A6F626C6F745347
BLOCK = struct.Struct("=16sII")  # dtype, dimensions, 1: in Fortran's order; the shape follows: dask/chunk.hpp


# --- blocks for programs


class Unfit(Exception):
    """A value that cannot be a block of a program's."""


def image_of(header, content):
    """The frames of a message in memory: a stream, and a block if there is any content."""
    blocks = 1 if content.nbytes else 0
    stream_at = padded(IMAGE.size + 16 * blocks, 64)
    begin = padded(stream_at + len(header), 64)
    head = IMAGE.pack(IMAGE_MAGIC, len(header), blocks, stream_at)
    if blocks:
        head += struct.pack("=QQ", begin, content.nbytes)
    head = (head.ljust(stream_at, b"\0") + header).ljust(begin, b"\0")
    return [head, content] if blocks else [head]


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
        raise Unfit("it is a %s.%s" % (type(value).__module__, type(value).__qualname__))
    array = numpy.asarray(value)
    if array.dtype.hasobject or array.dtype.kind not in NUMERIC or array.dtype.char in "gG":
        raise Unfit("it has elements of dtype %s" % array.dtype)
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    return array if fortran else numpy.require(array, requirements="C")


def block_of(value):
    """A blob that a program reads as a `chunk`; of a value that is none, one that says why."""
    if isinstance(value, (bytes, bytearray)):
        return Blob(image_of(BLOCK.pack(b"|u1", 1, 0) + struct.pack("=Q", len(value)), memoryview(value)))
    try:
        array = array_of(value)
    except Unfit as error:
        text = str(error).encode()
        return Blob(image_of(BLOCK.pack(b"!", len(text), 0) + text, memoryview(b"")))
    fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    header = BLOCK.pack(array.dtype.str.encode(), array.ndim, fortran)
    header += struct.pack("=%dQ" % array.ndim, *array.shape)
    plain = (array.T if fortran else array).reshape(-1).view("u1")
    return Blob(image_of(header, memoryview(plain)))


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
        return {"kind": "other", "type": "%s.%s" % (type(value).__module__, type(value).__qualname__)}
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
