#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Measures what joblot costs to compile, in CPU seconds of the compiler (user + system), best of several runs.

The first table compares a program that includes joblot/joblot.hpp and makes one call with an empty main; the target is
at most 0.9 CPU s more (g++ 12, -fsyntax-only). The second one includes each header alone, and each standard header
that joblot uses alone, to show where the time goes; costs overlap, as headers share what they include.
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
TARGET = 0.9
EMPTY = "int main() {}\n"
ONE_CALL = """#include <joblot/joblot.hpp>
#include <ranges>
#include <vector>
double twice(int i) { return 2.0 * i; }
int main() {
    std::vector<double> r = joblot::Parallel({.n_jobs = 2})(
        std::views::iota(0, 1000) | std::views::transform(joblot::delayed(twice)));
    return r.size() == 1000 ? 0 : 1;
}
"""
MODES = {"-fsyntax-only": ["-fsyntax-only"], "-c -O0": ["-c", "-O0", "-o", os.devnull],
         "-c -O2": ["-c", "-O2", "-o", os.devnull]}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=6, help="best of this many (default %(default)s)")
    parser.add_argument("--compiler", action="append", help="may be repeated (default: g++ and, if there, clang++-19)")
    parser.add_argument("--no-headers", action="store_true", help="leave out the table of single headers")
    parser.add_argument("--check", action="store_true", help=f"fail if the first compiler needs more than {TARGET} s")
    options = parser.parse_args()
    options.compiler = options.compiler or ["g++"] + ["clang++-19"] * bool(shutil.which("clang++-19"))
    return options


def cpu_seconds(command):
    """User and system time of one run of a command, its children included."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"does not compile: {' '.join(command)}\n{errors[:2000]}")
    return usage.ru_utime + usage.ru_stime


def best_of(runs, commands):
    """name -> best CPU seconds. The commands take turns, so that a slow moment of the machine hits all of them."""
    best = dict.fromkeys(commands, float("inf"))
    for _ in range(runs):
        for name, command in commands.items():
            best[name] = min(best[name], cpu_seconds(command))
    return best


def command(compiler, mode, source):
    return [compiler, "-std=c++20", f"-I{INCLUDE}", "-pthread", *MODES[mode], str(source)]


def write(folder, name, text):
    path = folder / f"{name}.cpp"
    path.write_text(text)
    return path


def whole_program(options, folder):
    """The first table; returns the excess of the first compiler with -fsyntax-only."""
    call, empty = write(folder, "one_call", ONE_CALL), write(folder, "empty", EMPTY)
    rows, excesses = [], []
    for compiler in options.compiler:
        for mode in MODES:
            commands = {"empty": command(compiler, mode, empty), "call": command(compiler, mode, call)}
            best = best_of(options.runs, commands)
            excess = best["call"] - best["empty"]
            excesses.append(excess)
            aimed = mode == "-fsyntax-only"
            met = ("yes" if excess <= TARGET else "no") if aimed else ""
            rows.append([compiler, mode, f"{best['empty']:.2f}", f"{best['call']:.2f}", f"{excess:.2f}",
                         f"<= {TARGET}" if aimed else "", met])
    machine.print_table(["compiler", "mode", "empty main", "one call", "more by", "target", "met?"], rows)
    return excesses[0]


def standard_headers(files):
    found = {name for file in files for name in re.findall(r"^#include <([a-z_]+)>", file.read_text(), re.MULTILINE)}
    return sorted(found)


def single_headers(options, folder):
    """The second table, with the first compiler: CPU seconds beyond an empty file."""
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
    nothing = best.pop("empty")
    rows = [[name, f"{best[name] - nothing:.2f}"] for name in sorted(best, key=best.get, reverse=True)]
    print(f"\nOne header alone, {options.compiler[0]} -fsyntax-only, beyond an empty main:\n")
    machine.print_table(["header", "CPU s"], rows)


def main():
    options = arguments()
    print(f"- machine: {machine.describe()}")
    for compiler in options.compiler:
        print(f"- {machine.first_line(compiler, '--version')}")
    print(f"- -std=c++20, best of {options.runs}, CPU seconds\n", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        excess = whole_program(options, folder)
        if not options.no_headers:
            single_headers(options, folder)
    if options.check and excess > TARGET:
        sys.exit(f"compile cost: {excess:.2f} CPU s more than an empty main, the target is {TARGET}")


if __name__ == "__main__":
    main()
