# SPDX-License-Identifier: BSL-1.0
"""Answers questions about a Dask cluster, asked as JSON, one a line: what Python sees of it while C++ works there.

    python oracle.py ADDRESS [CA CERTIFICATE KEY]

A question is {"ask": NAME, ...arguments}; the answer is one line of JSON, {"error": TEXT} where it failed.
"""

import json
import sys

from distributed import Client, Future
from distributed.security import Security


def state(dask_scheduler):
    """Everything that the scheduler holds for anybody: its tasks, its clients, its workers."""
    return {
        "tasks": {
            str(key): {
                "state": task.state,
                "clients": [client.client_key for client in task.who_wants or ()],
                "workers": [worker.address for worker in task.who_has or ()],
                "processing_on": getattr(task.processing_on, "address", None),
                "priority": [float(part) for part in task.priority or ()],
                "retries": task.retries,
                "resources": task.resource_restrictions,
                "restrictions": sorted(map(str, task.worker_restrictions or ())),
                "loose": bool(task.loose_restrictions),
                "prefix": task.prefix.name if task.prefix else None,
            }
            for key, task in dask_scheduler.tasks.items()
        },
        "clients": sorted(client for client in dask_scheduler.clients if client != "fire-and-forget"),
        "workers": {
            worker.address: {"name": str(worker.name), "threads": worker.nthreads, "processing": len(worker.processing)}
            for worker in dask_scheduler.workers.values()
        },
        # How many tasks of each name ever came to each state, also those that are forgotten by now.
        "history": {name: dict(prefix.state_counts) for name, prefix in dask_scheduler.task_prefixes.items()},
        "plugins": sorted(dask_scheduler.worker_plugins),
    }


def statuses(dask_scheduler):
    return {worker.address: worker.status.name for worker in dask_scheduler.workers.values()}


def files(dask_worker):
    """Names and sizes of what lies in the worker's own folder."""
    import os

    folder = dask_worker.local_directory
    return {name: os.path.getsize(os.path.join(folder, name)) for name in os.listdir(folder)}


def children(dask_worker):
    """Process numbers of the worker's own children."""
    import os

    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as stat:
                parent = int(stat.read().rpartition(b") ")[2].split()[1])
        except (OSError, ValueError):
            continue
        if parent == os.getpid():
            found.append(int(name))
    return found


def runs(dask_worker):
    """Whether a nanny knows that its worker runs. One whose first worker dies before that starts no other."""
    return dask_worker.process is not None and dask_worker.process.status.name == "running"


def hog(size, dask_worker):
    """Fills so many bytes of the worker's memory; 0 frees them. It spills nothing: 2022.12 cannot read it with zict 3."""
    import sys

    dask_worker.memory_manager.memory_spill_fraction = False
    sys.joblot_hog = b"x" * size


class Oracle:
    def __init__(self, address, *tls):
        security = None
        if tls:
            ca, certificate, key = tls
            security = Security(tls_ca_file=ca, tls_client_cert=certificate, tls_client_key=key, require_encryption=True)
        self.client = Client(address, security=security, timeout=60, set_as_default=False)

    def state(self):
        seen = self.client.run_on_scheduler(state)
        seen["clients"] = [client for client in seen["clients"] if client != self.client.id]
        return seen

    def files(self):
        return self.client.run(files)

    def nannies_ready(self):
        return all(self.client.run(runs, nanny=True).values())

    def children(self):
        return self.client.run(children)

    def retire(self, worker):
        self.client.retire_workers([worker])

    def cancel(self, keys):
        self.client.cancel([Future(key, self.client) for key in keys], force=True)

    def restart(self):
        self.client.restart()

    def hog(self, worker, size):
        self.client.run(hog, size, workers=[worker])

    def status(self):
        """{address: "running", "paused", ...}"""
        return self.client.run_on_scheduler(statuses)

    def publish(self, name, value):
        """Publishes what a Python expression gives. It may use the client, and what is imported here."""
        names = {"client": self.client}
        exec("import dask, time", names)
        for module in ("numpy", "pandas", "dask.array", "dask.dataframe"):
            if module in value:  # all of them would cost 1.4 s of CPU time
                exec("import " + module, names)
        self.client.publish_dataset(eval(value, names), name=name)

    def unpublish(self, name):
        self.client.unpublish_dataset(name)

    def evaluate(self, expression):
        """What a Python expression gives, as text. It may use the client and numpy."""
        names = {"client": self.client}
        exec("import numpy", names)
        return str(eval(expression, names))


def main():
    oracle = Oracle(*sys.argv[1:])
    for line in sys.stdin:
        question = json.loads(line)
        try:
            answer = getattr(oracle, question.pop("ask"))(**question)
        except Exception as error:  # whatever it is, the test is to see it
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
