"""What all examples have in common: --help, --n-jobs, --backend, and errors that name what was wrong."""

import os
import subprocess

from harness import TIME_LIMIT, check, check_equal, clean_environment, program, run, test, test_each

EXAMPLES = {  # its own options and arguments
    "checksum_tree": ["DIR"],
    "crash_isolation": ["--tasks", "--time-limit", "--memory-limit", "(default: processes)"],
    "mandelbrot": ["--width", "--height", "--max-iter", "--output"],
    "option_pricing": ["--paths", "--seed"],
    "parallel_simple": [],
    "shared_model": ["--megabytes", "--queries", "(default: processes)"],
    "streaming": ["--count", "--ahead"],
}
ARGUMENTS = {"checksum_tree": [os.path.dirname(os.path.abspath(__file__))], "shared_model": ["--megabytes", "1"]}


def check_refused(name, arguments, *words):
    """Exit status 2, nothing on stdout, and a message with the program's name and `words`."""
    done = run(name, *arguments, expect=2)
    message = done.stderr.decode()
    check_equal(done.stdout, b"", "stdout")
    check(message.startswith(name + ": "), f"the message does not begin with the program's name: {message}")
    for word in words:
        check(word in message, f"the message does not mention {word}: {message}")


@test_each(*EXAMPLES)
def help_lists_options(name):
    """--help lists all options and ends with 0"""
    for flag in ("--help", "-h"):
        done = run(name, flag)
        for word in ["Usage: " + name, "--help", "--n-jobs", "--backend", "NAME[:ADDRESS]", "--scheduler", *EXAMPLES[name]]:
            check(word in done.stdout.decode(), f"{flag} does not mention {word}")
        check_equal(done.stderr, b"", "stderr")


@test_each(*EXAMPLES)
def unknown_option(name):
    """an unknown option is refused by name"""
    check_refused(name, ["--no-such-option"], "'--no-such-option'", "--help")


@test_each(*EXAMPLES)
def bad_n_jobs(name):
    """a bad --n-jobs is refused with its value"""
    for value in ("two", "1.5", "", "99999999999"):
        check_refused(name, ["--n-jobs", value], "--n-jobs", f"'{value}'")
    check_refused(name, ["--n-jobs=0", *ARGUMENTS.get(name, [])], "n_jobs = 0")
    check_refused(name, ["--n-jobs"], "--n-jobs", "value")


@test_each(*EXAMPLES)
def unknown_backend(name):
    """an unknown backend is refused with the list of known ones"""
    check_refused(name, ["--backend", "abacus", *ARGUMENTS.get(name, [])], "abacus", "sequential", "threads",
                  "processes")


@test_each(*EXAMPLES)
def scheduler_without_cluster(name):
    """a scheduler for a backend that has none is refused"""
    check_refused(name, ["--scheduler", "tcp://127.0.0.1:1", "--backend", "threads", *ARGUMENTS.get(name, [])],
                  "--scheduler")


@test_each(*EXAMPLES)
def unexpected_argument(name):
    """an argument too many is refused"""
    check_refused(name, [*ARGUMENTS.get(name, []), "extra"], "'extra'")


@test
def bad_own_options():
    """values of an example's own options are checked"""
    for name, option, value in [("mandelbrot", "--width", "0"), ("mandelbrot", "--height", "-3"),
                                ("mandelbrot", "--height", "99999"), ("mandelbrot", "--max-iter", "many"),
                                ("option_pricing", "--paths", "999"),
                                ("option_pricing", "--seed", "-1"), ("streaming", "--count", "x"),
                                ("streaming", "--ahead", "0"), ("crash_isolation", "--tasks", "0"),
                                ("crash_isolation", "--memory-limit", "31"), ("shared_model", "--megabytes", "0")]:
        check_refused(name, [option, value], option, f"'{value}'")


@test
def missing_argument():
    """checksum_tree without a folder is refused"""
    check_refused("checksum_tree", [], "DIR")


@test
def full_disk():
    """output that cannot be written is an error"""
    with open("/dev/full", "wb") as full:
        done = subprocess.run([program("parallel_simple")], stdout=full, stderr=subprocess.PIPE, timeout=TIME_LIMIT,
                              env=clean_environment(), check=False)
    check_equal(done.returncode, 1, "exit status")
    check(b"standard output" in done.stderr, f"stderr: {done.stderr.decode()}")
