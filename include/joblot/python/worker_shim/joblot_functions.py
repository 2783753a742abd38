# SPDX-License-Identifier: BSL-1.0
"""Functions of C++ programs as Dask's workers call them for Python: see python/joblot.py. On workers it is the last part
of the module joblot_shim.
"""

import base64
import inspect

from distributed import get_worker
from joblot_datasets import OUT_OF_BAND, OWN, Unfit, array_of, part_in, result_in, type_name
from joblot_shim import execute, short_text

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
        return None if self.facts["result"]["kind"] == "none" else result_in(frames)

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
