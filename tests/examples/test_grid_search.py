"""A data set goes from Python to C++ and back on one cluster, and scikit-learn agrees; and what is refused."""

import functools
import re
import subprocess

from harness import Skipped, check, check_equal, program, run, test, test_each
from test_dask import ROOT, cluster, need_dask, python

# Three blocks of rows, two of columns, a value for each row, one too few, and whole numbers.
DATASETS = {"rows": "x", "columns": "x.rechunk((60, 2))", "values": "x[:, 0]", "few": "x[:-1, 0]",
            "whole": "x[:, 0].astype(int)"}


@functools.cache
def need_scikit_learn():
    need_dask()
    if not program("grid_search").exists():
        raise Skipped("grid_search was built without Eigen")
    if subprocess.run([python(), "-c", "import joblib, sklearn"], capture_output=True, check=False).returncode:
        raise Skipped(f"{python()} has no scikit-learn: scripts/dask_environments.sh makes one that has")


@functools.cache
def publish():
    datasets = ", ".join(f"{name}=c.persist({data})" for name, data in DATASETS.items())
    cluster().ask(f"import dask.array as da; x = da.ones((60, 4), chunks=(20, 4)); c.publish_dataset({datasets})")


def check_refusal(done, words):
    check_equal(done.stdout, b"", "stdout")
    check(words in done.stderr.decode(), f"stderr: {done.stderr.decode()}")


@test
def pipeline():
    """python_and_cpp: the same best parameters as scikit-learn finds, and scores to 1e-9"""
    need_scikit_learn()
    done = run("python_and_cpp", ROOT / "examples" / "python_and_cpp.py", program("grid_search"), "--compare",
               "--points", "4", "--scheduler", cluster().address, executable=python())
    lines = done.stdout.decode().splitlines()
    found = [re.search(r"best parameters: (\{'alpha': [-+.e\d]+, 'gamma': [-+.e\d]+\})", line) for line in lines]
    ours, theirs = [match[1] for match in found if match]
    check_equal(ours, theirs, "best parameters")
    differences = [match[1] for line in lines if (match := re.search(r"scores differ by (\S+) at most", line))]
    check_equal(len(differences), 1, "lines that tell the difference of the scores")
    check(float(differences[0]) < 1e-9, f"scores differ by {differences[0]}")
    searches = [match[1] for line in lines if (match := re.search(r"(C\+\+|scikit-learn): 160 fits in", line))]
    check_equal(searches, ["C++", "scikit-learn"], "searches")


@test
def cluster_of_its_own():
    """python_and_cpp without an address starts a cluster, and needs no comparison"""
    need_scikit_learn()
    done = run("python_and_cpp", ROOT / "examples" / "python_and_cpp.py", program("grid_search"), executable=python())
    check("fitted to all samples" in done.stdout.decode(), f"stdout: {done.stdout.decode()}")


@test
def another_grid():
    """grid_search: an array for each pair of parameters, a score for each fold"""
    need_scikit_learn()
    publish()
    done = run("grid_search", cluster().address, "--x", "rows", "--y", "values", "--alphas", "1,2.5,1e3", "--gammas",
               "0.5,2", "--folds", "4", "--scores", "made")
    check_equal(done.stdout.decode(), 'the scores of 6 pairs of parameters are published as "made"\n', "stdout")
    check_equal(cluster().ask("print({s.shape for s in c.gather(c.get_dataset('made'))}, len(c.get_dataset('made')))"),
                "{(4,)} 6", "scores")
    again = run("grid_search", cluster().address, "--x", "rows", "--y", "values", "--scores", "made", expect=1)
    check_refusal(again, 'the name "made" is taken')
    cluster().ask("c.unpublish_dataset('made')")


@test_each(("--x", "nowhere", "--y", "values", 'nothing is published as "nowhere"'),
           ("--x", "columns", "--y", "values", 'the chunks of "columns" are not whole rows'),
           ("--x", "rows", "--y", "few", "60 samples with 59 values cannot be cut"),
           ("--x", "rows", "--y", "values", "--folds", "61", "60 samples with 60 values cannot be cut into 61 folds"),
           ("--x", "rows", "--y", "whole", 'dataset "whole" has elements of dtype <i8'))
def unfit_data(case):
    """data that it cannot use is an error that says why"""
    need_scikit_learn()
    publish()
    *arguments, words = case
    check_refusal(run("grid_search", cluster().address, *arguments, expect=2 if "dtype" in words else 1), words)


@test_each(("--speed", "9", "unknown option '--speed'"), ("--alphas", "1,,2", "--alphas: '' is not a positive number"),
           ("--gammas", "0.1,-1", "--gammas: '-1' is not a positive number"),
           ("--folds", "1", "--folds: '1' is not a whole number"), ("--backend", "threads", "unknown option '--backend'"))
def bad_command_line(case):
    """a wrong option is an error that names it"""
    need_scikit_learn()
    *arguments, words = case
    check_refusal(run("grid_search", cluster().address, *arguments, expect=2), words)


@test
def something_missing():
    """without a scheduler, or without the C++ program, it is said what is missing"""
    need_scikit_learn()
    check_refusal(run("grid_search", expect=2), "missing argument SCHEDULER")
    done = run("python_and_cpp", ROOT / "examples" / "python_and_cpp.py", "/nowhere/grid_search", "--scheduler",
               cluster().address, executable=python(), expect=2)
    check("/nowhere/grid_search" in done.stderr.decode(), f"stderr: {done.stderr.decode()}")


@test
def nothing_is_left():
    """after all of that the cluster has no key and no dataset"""
    need_scikit_learn()
    publish()
    cluster().ask(f"[c.unpublish_dataset(name) for name in {list(DATASETS)}]")
    check_equal(cluster().ask("print(c.run_on_scheduler(lambda dask_scheduler: sorted(map(str, dask_scheduler.tasks))), "
                              "c.list_datasets())"), "[] ()", "keys and datasets")
