# SPDX-License-Identifier: BSL-1.0
"""What the benchmark scripts share: the description of the machine, and Markdown tables."""

import os
import pathlib
import platform
import re
import shutil
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent


def cores():
    """How many CPUs this process may use."""
    return len(os.sched_getaffinity(0))


def cpu_model():
    text = pathlib.Path("/proc/cpuinfo").read_text(errors="replace")
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1) if found else platform.machine()


def first_line(*command):
    if not shutil.which(command[0]):
        return "not found"
    return subprocess.run(command, capture_output=True, text=True).stdout.partition("\n")[0]


def tbb_version(compiler):
    """The version that the TBB headers state; 'not found' where there are none."""
    probe = "#include <oneapi/tbb/version.h>\nVERSION TBB_VERSION_MAJOR TBB_VERSION_MINOR TBB_VERSION_PATCH\n"
    run = subprocess.run([compiler, "-E", "-P", "-x", "c++", "-"], input=probe, capture_output=True, text=True)
    found = re.search(r"^VERSION (.+)$", run.stdout, re.MULTILINE)
    return found.group(1).replace(" ", ".") if run.returncode == 0 and found else "not found"


def describe():
    """One line: CPU, cores, kernel, and how busy the machine was before we began."""
    load = os.getloadavg()[0]
    busy = "" if load < 0.3 else "  (busy: the numbers are worth less)"
    return f"{cpu_model()}, {cores()} cores, {platform.system()} {platform.release()}; load {load:.2f}{busy}"


def print_table(header, rows):
    """A Markdown table, its columns padded so that it also reads well as text."""
    table = [header] + [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(header))]
    table.insert(1, ["-" * width for width in widths])
    for row in table:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |", flush=True)
