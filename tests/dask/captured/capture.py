#!/usr/bin/env python3
"""Records messages of a real Dask for the tests of joblot's readers.

    tests/dask/captured/capture.py ENVIRONMENT...     (folders that scripts/dask_environments.sh makes)

A cluster and a client of that version talk through a relay, which keeps the first message of each kind in
tests/dask/captured/VERSION/NAME.bin, as it was on the wire. What tasks raise is in a module of its own, as the
exceptions of joblot's workers are. Everything happens in /tmp/joblot-captured, so that no other path is recorded.
"""
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time

WORK = pathlib.Path("/tmp/joblot-captured")
HERE = pathlib.Path(__file__).resolve().parent
MODULE = '''
import os, time
class TaskFailed(Exception):
    def __init__(self, text, data=b""):
        super().__init__(text, data)
    def __str__(self):
        return str(self.args[0])
def run(payload, *more):
    if payload == b"fail":
        raise TaskFailed("two of three tasks failed", b"JOBLOT02 and the results")
    if payload == b"value":
        raise ValueError("text", 3, 2.5, None)
    if payload == b"die":
        os._exit(3)
    if payload == b"sleep":
        time.sleep(60)
    return b"|".join([payload, *more])
'''


def outer(environments):
    for environment in map(pathlib.Path, environments):
        shutil.rmtree(WORK, ignore_errors=True)
        WORK.mkdir()
        packages, = environment.resolve().glob("lib/python3*/site-packages")
        (WORK / "packages").symlink_to(packages)
        (WORK / "captured_tasks.py").write_text(MODULE)
        shutil.copy(__file__, WORK / "capture.py")
        variables = {"PYTHONPATH": f"{WORK}/packages:{WORK}", "PATH": os.environ["PATH"], "HOME": str(WORK),
                     "DASK_TEMPORARY_DIRECTORY": str(WORK), "DASK_LOGGING__DISTRIBUTED": "critical"}
        python = os.path.realpath(environment / "bin" / "python")
        subprocess.run([python, "capture.py", "--inner"], cwd=WORK, env=variables, check=True)
        version = (WORK / "out" / "version").read_text()
        shutil.rmtree(HERE / version, ignore_errors=True)
        shutil.copytree(WORK / "out", HERE / version, ignore=shutil.ignore_patterns("version"))
        print(version, sorted(p.name for p in (HERE / version).iterdir()))


class Relay:
    """Between clients and one address; looks at every message."""

    def __init__(self, host, port, look):
        self.target, self.look = (host, port), look
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            near, _ = self.listener.accept()
            far = socket.create_connection(self.target)
            for source, sink, down in ((near, far, False), (far, near, True)):
                threading.Thread(target=self.pump, args=(source, sink, down), daemon=True).start()

    def pump(self, source, sink, down):
        try:
            while True:
                message = self.message(source)
                self.look(message, down)
                sink.sendall(message)
        except (OSError, EOFError):
            sink.close()

    @staticmethod
    def message(source):
        def read(n):
            parts = b""
            while len(parts) < n:
                part = source.recv(n - len(parts))
                if not part:
                    raise EOFError
                parts += part
            return parts

        prelude = read(16)
        sizes = read(8 * struct.unpack("<QQ", prelude)[1])
        return prelude + sizes + read(sum(struct.unpack(f"<{len(sizes) // 8}Q", sizes)))


def inner():
    import faulthandler

    import distributed
    import msgpack
    faulthandler.dump_traceback_later(60, exit=True)
    from captured_tasks import run

    out = WORK / "out"
    out.mkdir()
    (out / "version").write_text(distributed.__version__)
    asked = {}  # what the next answers of an RPC connection are cannot be told: the phase says it
    phase = ["start"]

    def names(message, down):
        count, = struct.unpack_from("<Q", message, 8)
        size, = struct.unpack_from("<Q", message, 16)
        head = msgpack.unpackb(message[16 + 8 * count:][:size], strict_map_key=False, use_list=False)
        if isinstance(head, dict) and "pickle-protocol" in head:
            yield "handshake"
        for one in head if isinstance(head, tuple) else (head,):
            if isinstance(one, dict) and down and "op" in one:
                yield f"{one['op']}-{phase[0]}"
            elif isinstance(one, dict) and not down and one.get("op", "").startswith("update-graph"):
                yield f"sent-{one['op']}"
            elif isinstance(one, dict) and not down and "op" in one:
                asked[threading.get_ident()] = one["op"]
        if down and isinstance(head, dict) and "op" not in head and "pickle-protocol" not in head:
            if "data" in head:
                yield "gather"
            elif "workers" in head:
                yield f"identity-{phase[0]}"
            elif head.get("status") in ("error", "uncaught-error"):
                yield f"error-{phase[0]}"

    kept = set()

    def look(message, down):
        for name in names(message, down):
            if name not in kept and len(message) < 40000:
                kept.add(name)
                place = sys.base_prefix.encode()  # where Python is, is nobody's business
                (out / f"{name}.bin").write_bytes(message.replace(place, (b"/python" * len(place))[: len(place)]))

    cluster = distributed.LocalCluster(n_workers=1, threads_per_worker=2, protocol="tcp", host="127.0.0.1",
                                       dashboard_address=None)
    host, port = cluster.scheduler_address.removeprefix("tcp://").split(":")
    relay = Relay(host, int(port), look)
    client = distributed.Client(f"tcp://127.0.0.1:{relay.port}", set_as_default=False)

    phase[0] = "done"
    done = client.submit(run, b"payload", key="run-done")
    done.result()
    client.gather([done], direct=False)
    phase[0] = "dependent"
    data = client.scatter({"run-data": b"scattered"})["run-data"]
    client.submit(run, b"payload", data, key="run-dependent").result()
    for name in ("fail", "value"):
        phase[0] = name
        client.submit(run, name.encode(), key=f"run-{name}").exception()
    phase[0] = "cancel"
    sleeper = client.submit(run, b"sleep", key="run-sleep")
    time.sleep(0.5)
    sleeper.cancel()
    time.sleep(1)
    phase[0] = "used"
    client.scheduler_info()
    client.sync(client.scheduler.identity)
    phase[0] = "refused"
    try:
        client.sync(client.scheduler.unregister_worker_plugin, name="no such plugin")
    except Exception as error:
        print("refused:", error)
    phase[0] = "killed"
    client.submit(run, b"die", key="run-die").exception()
    phase[0] = "lost"
    time.sleep(1)
    client.close()
    os._exit(0)  # the cluster's own end would wait for the worker that died


if __name__ == "__main__":
    inner() if sys.argv[1:] == ["--inner"] else outer(sys.argv[1:])
