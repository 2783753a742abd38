# SPDX-License-Identifier: BSL-1.0
"""What the tests of the worker's module share: payload_tool, a real scheduler and a real worker, what /proc says."""

import contextlib
import ctypes
import json
import os
import pathlib
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import types


class Tool:
    """payload_tool, and a folder for what it writes."""

    def __init__(self, program, folder):
        self.program, self.folder = os.path.abspath(program), pathlib.Path(folder)
        self.count = 0

    def call(self, *words):
        return subprocess.run([self.program, *map(str, words)], check=True, stdout=subprocess.PIPE, text=True).stdout

    def fresh(self):
        self.count += 1
        return self.folder / str(self.count)

    def plugin(self, whom):
        """Name and pickle."""
        path = self.fresh()
        return self.call("plugin", whom, path).strip(), path.read_bytes()

    def shim(self):
        """The module, as a scheduler gets it."""
        plugin = pickle.loads(self.plugin("scheduler")[1])
        return sys.modules[type(plugin).__module__]

    def batch(self, function, first, count, text="", *options):
        path = self.fresh()
        self.call("batch", function, first, count, path, text, *options)
        return path.read_bytes()

    def batch_with_image(self, function, first, count, text, *options):
        image = self.fresh()
        return self.batch(function, first, count, text, "image=%s" % image, *options), image.read_bytes()

    def answer(self, data):
        path = self.fresh()
        path.write_bytes(bytes(data))
        answer = types.SimpleNamespace(**json.loads(self.call("answer", path)))
        answer.end = ["done", "died", "timed_out", "cancelled", "refused", "missing"][answer.end]
        return answer


def until(condition, what, seconds=60):
    """Waits for something that is bound to come; the limit is only for when it does not."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "never: " + what
        time.sleep(0.02)


def is_alive(pid):
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def children(pid):
    """Living children of all threads of a process."""
    found = set()
    with contextlib.suppress(FileNotFoundError):
        for thread in os.listdir("/proc/%d/task" % pid):
            with contextlib.suppress(FileNotFoundError), open("/proc/%d/task/%s/children" % (pid, thread)) as file:
                found.update(map(int, file.read().split()))
    return {child for child in found if is_alive(child)}


class Forked:
    """A process that a python_server.py has forked for this one, its parent."""

    def __init__(self, pid, log):
        self.pid, self.log, self.status = pid, log, None

    def poll(self):
        if self.status is None and os.waitpid(self.pid, os.WNOHANG)[0]:
            self.status = "ended"
        return self.status

    def wait(self):
        until(self.poll, "the end of %s" % self.log)

    def terminate(self):
        os.kill(self.pid, signal.SIGTERM)

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)


class Server:
    """A python_server.py: a scheduler or a worker costs 0.1 s of CPU time then, instead of 0.9 s to 1.3 s."""

    def __init__(self):
        self.socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(120)
        ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER
        script = pathlib.Path(__file__).resolve().parents[1] / "python_server.py"
        self.process = subprocess.Popen([sys.executable, "-B", script], stdin=other)
        other.close()

    def start(self, log, *words):
        with open(os.devnull) as nothing, open(log, "wb") as output:
            files = [file.fileno() for file in (nothing, output, output)]
            socket.send_fds(self.socket, [json.dumps([*map(str, words)]).encode()], files)
        return Forked(int(self.socket.recv(32)), log)

    def close(self):
        self.socket.close()
        self.process.wait()


class Cluster:
    """A scheduler and workers of this Python's own Dask, processes of their own, and a client."""

    def __init__(self, folder, tool):
        self.folder, self.tool, self.processes = pathlib.Path(folder), tool, []
        self.server = Server()
        self.file = self.folder / "scheduler.json"
        address = ["--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0"]
        self.start("distributed.cli.dask_scheduler", *address, "--scheduler-file", self.file)
        until(self.file.exists, "the scheduler's file")
        from distributed import Client

        self.client = Client(scheduler_file=str(self.file), timeout=60, set_as_default=False)
        self.shim = tool.shim()
        self.register()

    def register(self):
        name, plugin = self.tool.plugin("scheduler")
        with_idempotent = self.version() >= (2023, 9, 2)
        extra = {"idempotent": True} if with_idempotent else {}
        if self.version() >= (2023, 4, 0):
            self.call("register_scheduler_plugin", plugin=plugin, name=name, idempotent=True)
        name, plugin = self.tool.plugin("worker")
        return self.call("register_worker_plugin", plugin=plugin, name=name, **extra)

    def call(self, op, **arguments):
        return self.client.sync(getattr(self.client.scheduler, op), **arguments)

    @staticmethod
    def version():
        import distributed

        return tuple(int(part) for part in distributed.__version__.split(".")[:3])

    def start(self, module, *arguments):
        log = self.folder / ("%d.log" % len(self.processes))
        self.processes.append(self.server.start(log, "-m", module, *arguments))
        return self.processes[-1]

    def worker(self, *options, threads=2, nanny="--no-nanny"):
        """Starts a worker; without a nanny its process is ours. Gives the process, which knows the worker's address."""
        known = set(self.workers())
        local = self.folder / ("worker-%d" % len(self.processes))
        arguments = ["--scheduler-file", self.file, "--nthreads", threads, nanny, "--local-directory", local]
        process = self.start("distributed.cli.dask_worker", *arguments, "--no-dashboard", *options)
        process.local = local

        until(lambda: self.joined(known, process), "the worker")
        process.address = self.joined(known, process).pop()
        if nanny == "--nanny":  # one whose first worker dies before it knows of it starts no other
            ready = lambda dask_worker: dask_worker.process.status.name == "running"
            until(lambda: all(self.client.run(ready, nanny=True, workers=[process.address]).values()), "the nanny")
        return process

    def joined(self, known, process):
        assert process.poll() is None, process.log.read_text()
        return set(self.workers()) - known

    def workers(self):
        return self.client.scheduler_info(**({"n_workers": -1} if self.version() >= (2025, 4, 0) else {}))["workers"]

    def submit(self, payload, *images, **options):
        name = "joblot-test-%d" % self.tool.count
        self.tool.count += 1
        return self.client.submit(self.shim.run, payload, *images, key=name, pure=False, **options)

    def run(self, payload, *images, **options):
        """What is in the answer of a batch, be it a result or the exception's."""
        future = self.submit(payload, *images, **options)
        error = future.exception(timeout=120)
        if error is None:
            return self.tool.answer(future.result())
        assert type(error).__name__ == "TaskFailed", repr(error)
        answer = self.tool.answer(error.args[1])
        answer.text = str(error)
        return answer

    def close(self):
        with contextlib.suppress(Exception):
            self.client.close(timeout=5)
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.server.close()


def run_tests(namespace, setup, shared=False):
    """Calls all functions `test_*`, each with what `setup(folder)` gives, or all with the same."""
    wanted = sys.argv[2:]
    tests = [t for n, t in namespace.items() if n.startswith("test_") and (not wanted or n in wanted)]
    failed = []
    if shared:
        with prepared(setup) as (folder, thing):
            for test in tests:
                run_test(test, folder, thing, failed)
    else:
        for test in tests:
            with prepared(setup) as (folder, thing):
                run_test(test, folder, thing, failed)
    assert not failed, failed


@contextlib.contextmanager
def prepared(setup):
    with tempfile.TemporaryDirectory(prefix="joblot-test-") as folder:
        with contextlib.closing(setup(folder)) as thing:
            yield folder, thing


def run_test(test, folder, thing, failed):
    begin = time.monotonic()
    try:
        test(thing)
        print("ok   %s (%.1f s)" % (test.__name__, time.monotonic() - begin), flush=True)
    except Exception:
        traceback.print_exc(file=sys.stdout)
        for log in sorted(pathlib.Path(folder).glob("*.log")):
            print("---", log.name, log.read_text(errors="replace")[-3000:], sep="\n")
        failed.append(test.__name__)
        print("FAIL", test.__name__, flush=True)
