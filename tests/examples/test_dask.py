"""Every example on a real Dask cluster: the same results as on threads; and nothing is left there."""

import atexit
import functools
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

import test_crash_isolation
import test_shared_model
from harness import Skipped, check, check_equal, is_sanitized, program, run, test, test_each

ROOT = pathlib.Path(__file__).resolve().parents[2]
NUMBERS = b"0 1 2 3 4 5 6 7 8 9 \n"


@functools.cache
def python():
    """A Python with Dask, as scripts/dask_environments.sh makes it below build/, or another one that is there."""
    candidates = [os.environ.get("JOBLOT_PYTHON"), *sorted((ROOT / "build").glob("dask-*/bin/python"), reverse=True),
                  sys.executable, "python3"]
    for candidate in filter(None, candidates):
        if shutil.which(candidate) and subprocess.run([candidate, "-c", "import distributed"], capture_output=True,
                                                      check=False).returncode == 0:
            return str(candidate)
    return None


def need_dask():
    if python() is None:
        raise Skipped("no Python with Dask: scripts/dask_environments.sh makes one")
    if not program("distributed_backend_simple").exists():
        raise Skipped("these examples were built without the cluster")


class Cluster:
    """A scheduler and a worker of two threads, which end with this program."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="joblot-examples-")
        self.file = pathlib.Path(self.folder) / "scheduler.json"
        self.log = open(pathlib.Path(self.folder) / "log", "w+", encoding="utf-8")
        self.children = []
        atexit.register(self.stop)
        self.start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", self.file)
        self.start("worker", "--scheduler-file", self.file, "--nworkers", "1", "--nthreads", "2", "--memory-limit",
                   "1GiB", "--local-directory", self.folder, "--no-dashboard")
        self.address = self.ask("print(c.scheduler.address if c.wait_for_workers(1, timeout=100) is None else '')")

    def start(self, what, *words):
        self.children.append(subprocess.Popen([python(), "-m", f"distributed.cli.dask_{what}", *map(str, words)],
                                              stdout=self.log, stderr=self.log))

    def ask(self, code):
        """What a program in Python prints that is connected to the cluster as `c`."""
        code = f"import sys; from dask.distributed import Client\nwith Client(scheduler_file=sys.argv[1]) as c: {code}"
        end = time.monotonic() + 120
        while not self.file.exists():
            check(time.monotonic() < end and not self.children[0].poll(), "the scheduler does not start")
            time.sleep(0.05)
        done = subprocess.run([python(), "-c", code, self.file], capture_output=True, text=True, timeout=120,
                              check=False)
        check(done.returncode == 0, f"Python on the cluster: {done.stderr[-2000:]}")
        return done.stdout.strip()

    def stop(self):
        for child in reversed(self.children):
            child.terminate()
        for child in self.children:
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@functools.cache
def cluster():
    need_dask()
    return Cluster()


def on_cluster(name, *arguments, **more):
    return run(name, "--backend", "dask", "--scheduler", cluster().address, *arguments, **more)


def check_progress(stderr, workers):
    lines = [line for line in stderr.decode().splitlines() if line.startswith("[Parallel")]
    check_equal(lines[0], f"[Parallel(n_jobs=2)]: Using backend DaskDistributedBackend with {workers} concurrent "
                          "workers.", "first line")
    counts = [int(re.search(r"Done +(\d+)", line)[1]) for line in lines[1:]]
    check_equal(counts, sorted(counts), "counts")
    check_equal(counts[-1], 10, "last count")
    check(lines[-1].endswith(" finished"), f"last line: {lines[-1]}")


@test
def starts_a_cluster():
    """distributed_backend_simple on a cluster that it starts, and ends"""
    need_dask()
    mark = f"JOBLOT_EXAMPLE_TEST={os.getpid()}"
    done = run("distributed_backend_simple", environment={"JOBLOT_PYTHON": python(), "JOBLOT_CPU_COUNT": "3"},
               prefix=("env", mark))
    check_equal(done.stdout, NUMBERS, "stdout")
    check_progress(done.stderr, 3)
    left = []
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (process / "environ").read_bytes():
                left.append((process / "cmdline").read_bytes())
        except OSError:  # it has ended meanwhile, or is somebody else's
            continue
    check_equal(left, [], "processes that are left")


@test
def existing_cluster():
    """distributed_backend_simple on the cluster whose address it is given"""
    done = run("distributed_backend_simple", cluster().address)
    check_equal(done.stdout, NUMBERS, "stdout")
    check_progress(done.stderr, 2)


@test
def nobody_there():
    """an address without a scheduler is an error that names it"""
    need_dask()
    for command in (("distributed_backend_simple", "tcp://127.0.0.1:1"),
                    ("parallel_simple", "--backend", "dask:tcp://127.0.0.1:1")):
        done = run(*command, expect=1)
        check("127.0.0.1:1" in done.stderr.decode(), f"stderr: {done.stderr.decode()}")


@test
def local_cluster():
    """--backend dask without an address starts a cluster"""
    need_dask()
    done = run("parallel_simple", "--backend", "dask", environment={"JOBLOT_PYTHON": python()})
    check_equal(done.stdout, "".join(f"{i * i}\n" for i in range(10)).encode(), "stdout")


@test
def by_environment():
    """DASK_SCHEDULER_ADDRESS names the cluster"""
    done = run("parallel_simple", "--backend", "dask", environment={"DASK_SCHEDULER_ADDRESS": cluster().address})
    check_equal(done.stdout, "".join(f"{i * i}\n" for i in range(10)).encode(), "stdout")
    check_progress(done.stderr, 2)


@test_each(("parallel_simple",), ("checksum_tree", os.path.dirname(os.path.abspath(__file__))),
           ("option_pricing", "--paths", "220001"), ("streaming", "--count", "20"))
def same_output(command):
    """what is on stdout is what threads give, byte for byte"""
    check_equal(on_cluster(*command).stdout, run(*command, "--backend", "threads").stdout, "stdout")


@test
def same_picture():
    """mandelbrot: the same file, byte for byte"""
    need_dask()
    pictures = []
    with tempfile.TemporaryDirectory(prefix="joblot-examples-") as folder:
        for call in (on_cluster, run):
            file = pathlib.Path(folder) / "picture.png"
            call("mandelbrot", "--width", "200", "--height", "150", "--max-iter", "300", "--output", file)
            pictures.append(file.read_bytes())
            file.unlink()
    check_equal(*pictures, "picture")


@test
def crashes():
    """crash_isolation: each task is reported with its own end"""
    if is_sanitized("crash_isolation"):
        raise Skipped("sanitizers have their own ideas of null pointers and memory")
    test_crash_isolation.check_report(on_cluster("crash_isolation", "--tasks", "16", "--time-limit", "3000"), 16)


@test
def one_copy_of_the_model():
    """shared_model: the processes of a worker have one copy of the table together"""
    answers, _, rows, _ = test_shared_model.search("--backend", "dask", "--scheduler", cluster().address,
                                                   "--queries", "16")
    check_equal(len(answers), 16, "answers")
    shared = sum(row[3] for row in rows)
    check(shared <= 1.1 * test_shared_model.MEGABYTES, f"{shared} MB of shared memory")


@test
def nothing_is_left():
    """after all of that the scheduler holds no key"""
    check_equal(cluster().ask("print(c.run_on_scheduler(lambda dask_scheduler: sorted(map(str, dask_scheduler.tasks))))"),
                "[]", "keys on the scheduler")
