# SPDX-License-Identifier: BSL-1.0
"""What the schedulers of a test that hangs hold, and how it came to that: for the log of a test that nobody sees again.

    python hang_report.py ADDRESS...
"""

import sys

from distributed import Client

EVENTS = 12


def tasks(events, dask_scheduler):
    lines = [f"{w.address} {w.status.name} processing {len(w.processing)}" for w in dask_scheduler.workers.values()]
    for key, task in dask_scheduler.tasks.items():
        needs = [f"{other.key} ({other.state})" for other in task.dependencies]
        wanted = [client.client_key for client in task.who_wants or ()]
        lines.append(
            f"{key}: {task.state}; on {getattr(task.processing_on, 'address', None)}; needs {needs}; wanted by {wanted}; "
            f"lost dependencies {task.has_lost_dependencies}; can be computed {task.run_spec is not None}"
        )
        if task.state != "memory":
            lines += [f"    {event[:5]}" for event in dask_scheduler.story(key)[-events:]]
    return lines


def worker_tasks(dask_worker):
    return {str(key): task.state for key, task in dask_worker.state.tasks.items()}


for address in sys.argv[1:]:
    print(f"the cluster at {address}:", flush=True)
    try:
        with Client(address, timeout=10, set_as_default=False) as client:
            print("\n".join(client.run_on_scheduler(tasks, EVENTS)))
            for worker, held in client.run(worker_tasks, on_error="return").items():
                print(f"{worker} holds {held}")
    except Exception as error:  # of whatever kind: it is to be read
        print(f"cannot be asked: {type(error).__name__}: {error}")
