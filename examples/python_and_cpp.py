# SPDX-License-Identifier: BSL-1.0
"""Python and C++ share a Dask cluster: one prepares the data, the other does the work on it, the first goes on.

    python examples/python_and_cpp.py build/examples/bin/grid_search [--scheduler tcp://HOST:8786] [--compare]

Python loads a data set, standardises it with dask.array and publishes it. The C++ program grid_search tries all pairs of
parameters of a kernel ridge regression on the workers that have the data. Python fits the best one with scikit-learn.
--compare makes the same search with scikit-learn on the same cluster as well: it must give the same.
"""

import argparse
import contextlib
import io
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

GRID = {"alpha": np.geomspace(1e-3, 10, 9).tolist(), "gamma": np.geomspace(1e-4, 1, 9).tolist()}
FOLDS = 10


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


def search_in_cpp(client, program):
    """The scores, with a row for each pair of parameters and a column for each fold."""
    command = [program, client.scheduler.address, "--x", "X", "--y", "y", "--folds", str(FOLDS)]
    for name, values in GRID.items():
        command += [f"--{name}s", ",".join(map(repr, values))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return np.loadtxt(io.StringIO(done.stdout), ndmin=2)


def search_in_python(client, x, y):
    """The same with scikit-learn and joblib."""
    search = GridSearchCV(KernelRidge(kernel="rbf"), GRID, cv=KFold(FOLDS), scoring="r2", refit=False)
    with joblib.parallel_config("dask", client=client, n_jobs=-1):
        results = search.fit(x.compute(), y.compute()).cv_results_
    return np.stack([results[f"split{k}_test_score"] for k in range(FOLDS)], axis=1)


def best_of(scores):
    """The parameters with the best mean score, in the order in which both searches have them."""
    return list(ParameterGrid(GRID))[scores.mean(axis=1).argmax()]


def timed(label, search, *arguments):
    """What a search gives; prints how long it took, and how long the workers computed for it."""
    client = arguments[0]
    start = time.time()
    with get_task_stream(client) as stream:
        scores = search(*arguments)
        seconds = time.time() - start
    steps = [step for task in stream.data for step in task["startstops"] if step["action"] == "compute"]
    busy = sum(step["stop"] - step["start"] for step in steps) / sum(client.nthreads().values())
    print(f"{label:<29}{seconds:6.2f} s, of which workers computed {busy:5.2f} s in {len(steps):3} Dask tasks", flush=True)
    return scores


def run(client, program, compare):
    x, y = load(client)
    with published(client, X=x, y=y):
        scores = timed("C++, Eigen and joblot", search_in_cpp, client, program)
        if compare:
            timed("  the same again", search_in_cpp, client, program)
    best = best_of(scores)
    print(f"best of {scores.size // FOLDS} pairs in {scores.size} fits: {best}, R^2 = {scores.mean(axis=1).max():.6f}")

    model = KernelRidge(kernel="rbf", **best).fit(x.compute(), y.compute())
    print(f"the model fitted on all samples has R^2 = {model.score(x.compute(), y.compute()):.6f} on them")

    if compare:
        theirs = timed("scikit-learn and joblib", search_in_python, client, x, y)
        timed("  the same again", search_in_python, client, x, y)
        difference = abs(scores - theirs).max()
        print(f"largest difference of two scores: {difference:.1e}; their best: {best_of(theirs)}")
        if best_of(theirs) != best or not difference < 1e-9:
            sys.exit("the two searches do not agree")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="the C++ program: the example grid_search")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="the cluster (default: one of its own on this machine)")
    parser.add_argument("--compare", action="store_true", help="make the same search with scikit-learn, too")
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        address = args.scheduler or stack.enter_context(LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1"))
        client = stack.enter_context(Client(address))
        try:
            run(client, args.program, args.compare)
        except subprocess.CalledProcessError as failed:  # it has said why
            sys.exit(f"{args.program} ended with status {failed.returncode}")


if __name__ == "__main__":
    main()
