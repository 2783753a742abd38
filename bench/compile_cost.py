#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Measures what joblot costs to compile, as multiples of what the standard library's headers of threads and futures cost.

The first table has the programs that a user writes, and those of others; the second one, with --headers, each header
alone. CPU seconds (user + system), best of several runs that take turns. --instructions counts the instructions of
cc1plus with valgrind besides, for the front end only: they hold on a busy machine, and take minutes. --check only counts
those of one call, and says whether they are within what they were: for the tests.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import machine

INCLUDE = machine.ROOT / "include"
EMPTY = "int main() {}\n"
THREADS = "".join(f"#include <{name}>\n" for name in
                  ("thread", "future", "mutex", "condition_variable", "atomic", "functional", "vector"))
CALL = "    all += joblot::Parallel({{.n_jobs = 2}})(std::views::iota(0, 9) | std::views::transform(delayed(f{0}))).size();\n"


def program(headers, calls=1, start="", body=""):
    """A program that makes calls of functions with results of different types."""
    functions = "".join(f"struct r{i} {{ double a; int b; }};\nr{i} f{i}(int i) {{ return {{2.0 * i, i}}; }}\n"
                        for i in range(calls))
    includes = "".join(f"#include <{name}>\n" for name in (*headers, "ranges", "vector", "cstddef"))
    made = "".join(CALL.format(i) for i in range(calls))
    return (f"{includes}using joblot::delayed;\n{functions}int main(int argc, char** argv) {{\n{start}"
            f"    std::size_t all = argv[0] ? 0 : static_cast<std::size_t>(argc);\n{body}{made}    return all == 0;\n}}\n")


INIT = "    joblot::init(argc, argv);\n"
COMPILED = "#define JOBLOT_COMPILED 1\n"
CLIENT = "    const joblot::dask::Client client;\n    joblot::parallel_backend g{joblot::dask::backend{.client = &client}};\n"
STANDARD, ONE, NINE, DASK, ENGINE = ("the standard library's: thread, future, ...", "joblot.hpp, one call",
                                     "joblot.hpp, nine calls of different types", "dask.hpp, one call",
                                     "dask.hpp and its engine, init, one call")
PROGRAMS = {
    STANDARD: THREADS + EMPTY,
    "joblot.hpp": "#include <joblot/joblot.hpp>\n" + EMPTY,
    ONE: program(["joblot/joblot.hpp"]),
    NINE: program(["joblot/joblot.hpp"], 9),
    "joblot.hpp, init, one call": program(["joblot/joblot.hpp"], start=INIT),
    DASK: program(["joblot/dask.hpp"], body=CLIENT),
    ENGINE: program(["joblot/dask.hpp", "joblot/dask/engine.hpp"], start=INIT, body=CLIENT),
    "joblot.hpp, init, one call, JOBLOT_COMPILED": COMPILED + program(["joblot/joblot.hpp"], start=INIT),
    "dask.hpp, init, one call, JOBLOT_COMPILED": COMPILED + program(["joblot/dask.hpp"], start=INIT, body=CLIENT),
    "oneTBB: parallel_for": "#include <oneapi/tbb/parallel_for.h>\nint main() { int a[9]; "
                            "oneapi::tbb::parallel_for(0, 9, [&](int i) { a[i] = i; }); return a[0]; }\n",
    "Asio's TCP and nlohmann_json": "#include <boost/asio.hpp>\n#include <nlohmann/json.hpp>\n" + EMPTY,
}
MODES = {"-fsyntax-only": ["-fsyntax-only"], "-c -O2": ["-c", "-O2", "-o", os.devnull]}
# What one call costs today is 3.7, in instructions of g++ 12; 77: there is no valgrind.
CHECKED, SKIPPED = 4.2, 77
# What is aimed at, as multiples of STANDARD: (what, how it is got from {program: cost}, {mode: limit}).
TARGETS = [
    (ONE, lambda cost: cost[ONE], {"-fsyntax-only": 2.0, "-c -O2": 3.0}),
    ("each further call", lambda cost: (cost[NINE] - cost[ONE]) / 8, {"-fsyntax-only": 0.15}),
    ("dask.hpp beyond joblot.hpp", lambda cost: cost[DASK] - cost[ONE], {"-fsyntax-only": 0.5}),
    (ENGINE, lambda cost: cost[ENGINE], {"-c -O2": 12.0}),
]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=6, help="best of this many (default %(default)s)")
    parser.add_argument("--compiler", action="append", help="may be repeated (default: g++ and, if there, clang++-19)")
    parser.add_argument("--headers", action="store_true", help="each header alone, too")
    parser.add_argument("--instructions", action="store_true", help="count instructions, too (g++; needs valgrind)")
    parser.add_argument("--check", action="store_true", help=f"exit status 1 where one call costs over {CHECKED} times")
    options = parser.parse_args()
    options.compiler = options.compiler or ["g++"] + ["clang++-19"] * bool(shutil.which("clang++-19"))
    return options


def cost_of(command):
    """CPU seconds of one run of a command, its children included, and the megabytes of the largest of them."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"does not compile: {' '.join(command)}\n{errors[:2000]}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def best_of(runs, commands):
    """name -> best CPU seconds, and megabytes. The commands take turns: a slow moment of the machine hits all."""
    best = {}
    for _ in range(runs):
        for name, command in commands.items():
            cost = cost_of(command)
            best[name] = min(best.get(name, cost), cost)
    return best


def command(compiler, mode, source):
    return [compiler, "-std=c++20", f"-I{INCLUDE}", "-pthread", *MODES[mode], str(source)]


def write(folder, name, text):
    path = folder / f"{name}.cpp"
    path.write_text(text)
    return path


def instructions_of(command):
    """Those of cc1plus, in thousands of millions."""
    tool = "valgrind,--tool=cachegrind,--cache-sim=no,--cachegrind-out-file=/dev/null"
    counted = [command[0], "-wrapper", tool, *command[1:]]
    run = subprocess.run(counted, capture_output=True, text=True)
    found = re.findall(r"I +refs: +([\d,]+)", run.stderr)
    if run.returncode != 0 or not found:
        sys.exit(f"valgrind could not count: {' '.join(counted)}\n{run.stderr[-2000:]}")
    return int(found[0].replace(",", "")) / 1e9


def check(folder):
    """Whether one call costs about what it did."""
    if not shutil.which("valgrind"):
        sys.exit(SKIPPED)
    one, standard = (instructions_of(command("g++", "-fsyntax-only", write(folder, name, PROGRAMS[program])))
                     for name, program in (("one", ONE), ("standard", STANDARD)))
    print(f"{ONE}: {one:.2f} * 10^9 instructions, {one / standard:.2f} times the standard headers' {standard:.2f}")
    if one / standard > CHECKED:
        sys.exit(f"that is more than {CHECKED} times; see docs/performance.md")


def programs(options, folder):
    """The first tables."""
    sources = {name: write(folder, f"program_{i}", text) for i, (name, text) in enumerate(PROGRAMS.items())}
    aims = []
    for compiler in options.compiler:
        for mode in MODES:
            commands = {name: command(compiler, mode, source) for name, source in sources.items()}
            best = best_of(options.runs, commands)
            one = best[STANDARD][0]
            table(f"{compiler} {mode}", ["program", "CPU s", "multiple", "MB"],
                  [[n, f"{s:.2f}", f"{s / one:.2f}", f"{mb:.0f}"] for n, (s, mb) in best.items()])
            aims += aims_of(f"{compiler} {mode}", mode, {n: s / one for n, (s, _) in best.items()})
    if options.instructions:
        counts = {n: instructions_of(command("g++", "-fsyntax-only", source)) for n, source in sources.items()}
        one = counts[STANDARD]
        table("g++ -fsyntax-only, instructions", ["program", "10^9", "multiple"],
              [[n, f"{c:.2f}", f"{c / one:.2f}"] for n, c in counts.items()])
        aims += aims_of("g++ -fsyntax-only, instructions", "-fsyntax-only", {n: c / one for n, c in counts.items()})
    table("What is aimed at", ["what", "how", "multiple", "target", "met?"], aims)


def aims_of(how, mode, cost):
    rows = []
    for what, get, limits in TARGETS:
        if mode in limits:
            value = get(cost)
            rows.append([what, how, f"{value:.2f}", f"<= {limits[mode]}", "yes" if value <= limits[mode] else "no"])
    return rows


def table(title, head, rows):
    print(f"\n{title}:\n")
    machine.print_table(head, rows)
    sys.stdout.flush()


def standard_headers(files):
    found = {name for file in files for name in re.findall(r"^#include <([a-z_]+)>", file.read_text(), re.MULTILINE)}
    return sorted(found)


def single_headers(options, folder):
    """The table of headers, with the first compiler: CPU seconds beyond an empty file."""
    ours = sorted(INCLUDE.rglob("*.hpp"))
    standard = standard_headers(ours)
    texts = {f"<{name}>": f"#include <{name}>\n" for name in standard}
    texts["all of these standard headers"] = "".join(texts.values())
    texts.update({str(file.relative_to(INCLUDE)): f"#include <{file.relative_to(INCLUDE)}>\n" for file in ours})
    texts["empty"] = ""
    commands = {}
    for number, (name, text) in enumerate(texts.items()):
        source = write(folder, f"header_{number}", text + EMPTY)
        commands[name] = command(options.compiler[0], "-fsyntax-only", source)
    best = best_of(max(2, options.runs // 2), commands)
    nothing, _ = best.pop("empty")
    rows = [[name, f"{best[name][0] - nothing:.2f}"] for name in sorted(best, key=best.get, reverse=True)]
    table(f"One header alone, {options.compiler[0]} -fsyntax-only, beyond an empty main", ["header", "CPU s"], rows)


def main():
    options = arguments()
    if options.check:
        with tempfile.TemporaryDirectory() as name:
            return check(pathlib.Path(name))
    print(f"- machine: {machine.describe()}")
    for compiler in options.compiler:
        print(f"- {machine.first_line(compiler, '--version')}")
    print(f"- -std=c++20, best of {options.runs}, CPU seconds\n", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        programs(options, folder)
        if options.headers:
            single_headers(options, folder)


if __name__ == "__main__":
    main()
