# SPDX-License-Identifier: BSL-1.0
"""Functions of C++ programs for Dask: `client.map(joblot.function("./simulate", "score"), blocks)`.

The program is one that uses joblot, and says which functions it has for Python (C++: `joblot::dask::exported`). Needs
nothing but `distributed`; to be found by Python, this file's folder must be in PYTHONPATH, or the file beside yours.
"""

import inspect
import json
import operator
import os
import pickle
import subprocess
import sys
import threading
import weakref

import distributed
from distributed.scheduler import Scheduler

__all__ = ["function", "functions"]

LOADER = """
import sys, types
if name not in sys.modules:
    module = types.ModuleType(name)
    exec(compile(source, name + '.py', 'exec'), module.__dict__)
    sys.modules[name] = module
"""


def function(program, name, client=None):
    """A function of a C++ program, for Dask to call: `client.submit`, `client.map`, `array.map_blocks`.

    program: path of an executable, for the workers' kind of machine; it is asked which functions it has, and sent to all
        workers of the cluster, also to those that come later.
    name: what the program calls the function.
    client: the cluster's client; default: the one that was made last.

    Raises `AttributeError` where the program has no such function, `RuntimeError` where it cannot be asked or sent.
    The function raises `TypeError` for arguments that it does not take, before anything runs; see its `__signature__`.
    """
    client = client or distributed.default_client()
    found = functions(program, client)
    if name not in found:
        raise AttributeError("%s exports no function %r; it has %s" % (program, name, ", ".join(found) or "none"))
    return found[name]


def functions(program, client=None):
    """All functions that a C++ program exports, by name; see `function`."""
    client = client or distributed.default_client()
    if client.asynchronous:
        raise TypeError("joblot needs a synchronous distributed.Client")
    catalogue = ask(os.path.abspath(os.fspath(program)))
    if not catalogue["functions"]:
        return {}
    module = load(catalogue["module"], catalogue["source"])
    deploy(client, catalogue, module)
    digest = {"digest": catalogue["digest"]}
    return {facts["name"]: module.Function({**facts, **digest}) for facts in catalogue["functions"]}


# --- the program


catalogues = {}  # path: its file's state, and what the program said


def ask(path):
    """What a program says of itself; asked again when its file has changed."""
    try:
        facts = os.stat(path)
        state = facts.st_ino, facts.st_size, facts.st_mtime_ns
    except OSError as error:
        raise RuntimeError("%s cannot be asked for its functions: %s" % (path, error)) from None
    if catalogues.get(path, (None,))[0] != state:
        catalogues[path] = state, ask_now(path)
    return catalogues[path][1]


def ask_now(path):
    try:
        done = subprocess.run([path, "--joblot-exports"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuntimeError("%s cannot be asked for its functions: %s" % (path, error)) from None
    try:
        catalogue = json.loads(done.stdout)
        catalogue["functions"]
    except (ValueError, LookupError, TypeError):
        said = done.stderr.decode(errors="replace").strip()[-500:]
        raise RuntimeError(
            "%s does not say which functions it has; does its main call joblot::init(argc, argv) first? "
            "(exit status %d%s)" % (path, done.returncode, ": " + said if said else "")
        ) from None
    catalogue["path"] = path
    return catalogue


def load(name, source):
    """The module that runs the program on workers, in this process: functions refer to it."""
    exec(LOADER, {"name": name, "source": source})
    return sys.modules[name]


# --- its way to the workers


class Module:
    """Makes the module wherever it is unpickled."""

    def __init__(self, name, source):
        self.name, self.source = name, source

    def __reduce__(self):
        return exec, (LOADER, {"name": self.name, "source": self.source})


class Carried:
    """What is pickled with the module that it is from; unpickled, it is itself."""

    def __init__(self, catalogue, what):
        self.parts = Module(catalogue["module"], catalogue["source"]), what

    def __reduce__(self):
        return operator.getitem, (self.parts, 1)


done = weakref.WeakKeyDictionary()  # client: names of plugins that its cluster was given
lock = threading.Lock()


def deploy(client, catalogue, module):
    """Gives a cluster the program, as C++ clients do, and under the same names (dask/program/deployment.hpp)."""
    name = catalogue["module"] + "-" + catalogue["program"]
    with lock:
        answers = {}
        if name not in done.setdefault(client, set()):
            if takes(Scheduler.register_scheduler_plugin, "idempotent"):
                call(client, "register_scheduler_plugin", pickled(catalogue, module.Source()), catalogue["module"])
            answers = call(client, "register_worker_plugin", program_of(catalogue, module), name)
        if not answers:  # somebody was here before, maybe a moment ago; or no worker is there
            ready = module.Ready(catalogue["program"], catalogue["digest"], name)
            answers = add_plugin(client, pickled(catalogue, ready), name + "-ready")
            lacking = [worker for worker, answer in answers.items() if answer.get("status") != "OK"]
            if lacking:  # it could not be stored, or has been deleted
                answers = add_plugin(client, program_of(catalogue, module), name, workers=lacking)
        for worker, answer in answers.items():
            if answer.get("status") != "OK":
                why = answer.get("exception_text", "its log says why")
                raise RuntimeError("worker %s does not take %s: %s" % (worker, catalogue["path"], why))
        done[client].add(name)


def program_of(catalogue, module):
    """The plugin that brings workers the program."""
    with open(catalogue["path"], "rb") as file:
        return pickled(catalogue, module.Program(catalogue["program"], catalogue["digest"], file.read()))


def add_plugin(client, plugin, name, **workers):
    """Gives workers that are there a plugin, which the scheduler does not keep."""
    message = {"op": "plugin-add", "plugin": plugin, "name": name}
    return client.sync(client.scheduler.broadcast, msg=message, **workers)


def pickled(catalogue, plugin):
    return pickle.dumps(Carried(catalogue, plugin), protocol=4)


def call(client, operation, plugin, name):
    extra = {"idempotent": True} if takes(getattr(Scheduler, operation), "idempotent") else {}
    return client.sync(getattr(client.scheduler, operation), plugin=plugin, name=name, **extra)


def takes(operation, parameter):
    return parameter in inspect.signature(operation).parameters
