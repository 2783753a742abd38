"""What the tests of the examples share: a list of tests, a way to run a program, and checks that say what they saw."""

import os
import shutil
import subprocess
import time
import traceback

bin_dir = None  # the folder with the programs, set by run_all.py
TIME_LIMIT = 300  # seconds for one program: generous, for sanitizers on a slow machine

_tests = []


class Failed(Exception):
    """A check did not hold."""


class Skipped(Exception):
    """The test cannot be made on this machine."""


def test(function):
    """Decorator: registers a test; its docstring is the name that is printed."""
    _tests.append(function)
    return function


def test_each(*values):
    """Decorator: registers one test for each value, which the test gets as its argument."""

    def register(function):
        for value in values:
            def bound(value=value):
                function(value)

            bound.__doc__ = f"{function.__doc__} [{value}]"
            bound.__module__ = function.__module__
            _tests.append(bound)
        return function

    return register


def clean_environment():
    """The environment without the variables that change joblot's defaults."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("JOBLOT_", "DASK_"))}


def program(name):
    return bin_dir / name


def run(name, *arguments, expect=0, prefix=(), executable=None, environment=None):
    """Runs an example to its end. Output is bytes; any exit status but `expect` fails the test.

    `environment`: more variables.
    """
    command = [*prefix, executable or program(name), *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIME_LIMIT,
                          env=clean_environment() | (environment or {}), check=False)
    check(done.returncode == expect,
          f"{' '.join(map(str, command))}: exit status {done.returncode}, not {expect}; "
          f"stderr: {done.stderr.decode(errors='replace')[-2000:]}")
    return done


def check(condition, message):
    if not condition:
        raise Failed(message)


def check_equal(actual, expected, what):
    if actual != expected:
        raise Failed(f"{what}: {shortened(actual)} instead of {shortened(expected)}")


def shortened(value):
    text = repr(value)
    return text if len(text) <= 1000 else text[:500] + " ... " + text[-500:]


def is_sanitized(name):
    """Whether a sanitizer is built into the program: then times and memory say nothing."""
    code = program(name).read_bytes()
    return any(mark in code for mark in (b"__asan_init", b"__tsan_init", b"__msan_init"))


def need_tool(name):
    if shutil.which(name) is None:
        raise Skipped(f"there is no {name} on this machine")


def run_all():
    """Runs the tests in the order of their registration. Returns the exit status."""
    failed = skipped = 0
    for number, function in enumerate(_tests, 1):
        title = f"{number} - {function.__module__.removeprefix('test_')}: {function.__doc__}"
        start = time.monotonic()
        try:
            function()
            print(f"ok {title} ({time.monotonic() - start:.1f} s)", flush=True)
        except Skipped as reason:
            skipped += 1
            print(f"ok {title} # SKIP {reason}", flush=True)
        except Exception as problem:  # a test that breaks has failed; the others still run
            failed += 1
            text = str(problem) if isinstance(problem, Failed) else traceback.format_exc()
            print(f"not ok {title}\n    " + text.rstrip().replace("\n", "\n    "), flush=True)
    print(f"1..{len(_tests)}")
    print(f"# examples: {len(_tests) - failed - skipped} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not _tests else 0
