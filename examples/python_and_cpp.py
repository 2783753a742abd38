# SPDX-License-Identifier: BSL-1.0
"""Python and C++ share a Dask cluster: one prepares the data, the other does the work on it, the first goes on.

    python examples/python_and_cpp.py build/examples/bin/grid_search --compare

Python loads a data set, standardises it with dask.array and publishes it. The C++ program grid_search tries all pairs of
parameters of a kernel ridge regression on the workers that have the data. Python fits the best one with scikit-learn.
With --compare scikit-learn makes the same search on the same cluster: it must give the same.
"""

import argparse
import contextlib
import shutil
import subprocess
import sys
import time

import dask.array as da
import joblib
import numpy as np
from distributed import Client, LocalCluster, get_task_stream
from sklearn.datasets import load_diabetes
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import GridSearchCV, KFold, ParameterGrid

FOLDS = 10


def grid_of(points):
    """So many values of each parameter."""
    return {"alpha": np.geomspace(1e-3, 10, points).tolist(), "gamma": np.geomspace(1e-4, 1, points).tolist()}


def load(client):
    """The data set as arrays on the cluster, in blocks of rows: ten standardised columns, and what they explain."""
    x, y = load_diabetes(return_X_y=True, scaled=False)
    x, y = da.from_array(x, chunks=(120, -1)), da.from_array(y, chunks=120)
    return client.persist([(x - x.mean(axis=0)) / x.std(axis=0), y - y.mean()])


@contextlib.contextmanager
def published(client, **datasets):
    """Gives data on the cluster names, by which other programs find it, as long as the block runs."""
    client.publish_dataset(**datasets)
    try:
        yield
    finally:
        for name in datasets:
            client.unpublish_dataset(name)


def search_in_cpp(client, grid, program):
    """The scores, with a row for each pair of parameters and a column for each fold."""
    command = [program, client.scheduler.address, "--x", "X", "--y", "y", "--folds", str(FOLDS)]
    for name, values in grid.items():
        command += [f"--{name}s", ",".join(map(repr, values))]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    scores = client.get_dataset("scores")  # futures of arrays
    client.unpublish_dataset("scores")
    return np.stack(client.gather(scores))


def search_in_python(client, grid, x, y):
    """The same with scikit-learn and joblib."""
    search = GridSearchCV(KernelRidge(kernel="rbf"), grid, cv=KFold(FOLDS), scoring="r2", refit=False)
    with joblib.parallel_config("dask", client=client, n_jobs=-1):
        results = search.fit(x, y).cv_results_
    return np.stack([results[f"split{k}_test_score"] for k in range(FOLDS)], axis=1)


def best_of(grid, scores):
    """The parameters with the best mean score, in the order in which both searches have them."""
    return list(ParameterGrid(grid))[scores.mean(axis=1).argmax()]


def say(*words, start=time.monotonic()):
    """Prints words, and when that was."""
    print(f"{time.monotonic() - start:6.2f} s ", *words, flush=True)


def timed(label, repeat, search, client, *arguments):
    """What a search gives; says how long it took, and for how much of that the workers computed."""
    for _ in range(max(1, repeat)):
        start = time.monotonic()
        with get_task_stream(client) as stream:
            scores = search(client, *arguments)
            seconds = time.monotonic() - start
        steps = [step for task in stream.data for step in task["startstops"] if step["action"] == "compute"]
        busy = sum(step["stop"] - step["start"] for step in steps) / sum(client.nthreads().values())
        say(f"{label}: {scores.size} fits in {seconds:.2f} s, {busy:.2f} s of it at work, in {len(steps)} Dask tasks")
    return scores


def run(client, args):
    x, y = load(client)
    grid = grid_of(args.points)
    with published(client, X=x, y=y):
        say("X and y are published")
        scores = timed("C++", args.repeat, search_in_cpp, client, grid, args.program)
    best = best_of(grid, scores)
    say(f"best parameters: {best}, R^2 = {scores.mean(axis=1).max():.6f}")

    x, y = client.compute([x, y], sync=True)
    model = KernelRidge(kernel="rbf", **best).fit(x, y)
    say(f"fitted to all samples: R^2 = {model.score(x, y):.6f}")

    if args.compare:
        theirs = timed("scikit-learn", args.repeat, search_in_python, client, grid, x, y)
        difference = abs(scores - theirs).max()
        say(f"best parameters: {best_of(grid, theirs)}; scores differ by {difference:.1e} at most")
        if best_of(grid, theirs) != best or not difference < 1e-9:
            sys.exit("the two searches do not agree")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="the C++ program: the example grid_search")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="the cluster (default: one of its own on this machine)")
    parser.add_argument("--compare", action="store_true", help="make the same search with scikit-learn, too")
    parser.add_argument("--points", metavar="N", type=int, default=9, help="values of each parameter (default: 9)")
    parser.add_argument("--repeat", metavar="N", type=int, default=1, help="make each search N times, for its time")
    args = parser.parse_args()
    if args.points < 1:
        parser.error(f"--points {args.points}: give 1 or more")
    if not shutil.which(args.program):
        parser.error(f"there is no program {args.program}")
    with contextlib.ExitStack() as stack:
        cluster = args.scheduler
        if not cluster:
            cluster = stack.enter_context(LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0"))
            say("a cluster is there; its dashboard:", cluster.dashboard_link)
        client = stack.enter_context(Client(cluster))
        try:
            run(client, args)
        except subprocess.CalledProcessError as failed:  # it has said why
            sys.exit(f"{args.program} ended with status {failed.returncode}")


if __name__ == "__main__":
    main()
