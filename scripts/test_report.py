#!/usr/bin/env python3
"""The end of a test run's output: what failed, with the last lines that it printed, and what took longest.

    test_report.py FOLDER_OF_JUNIT_REPORTS FOLDER_OF_BUILDS SINCE

SINCE: seconds since 1970; a build folder where nothing was built since then belongs to an earlier run.
"""

import pathlib
import sys
import xml.etree.ElementTree as tree

from junit_counts import verdict

SLOWEST = 10
LINES_OF_A_FAILURE = 100


def cases(reports):
    """(stage, name, seconds, what it printed, whether it failed) of each test that was run."""
    for report in sorted(reports.glob("*.xml")):
        preset, stage = report.stem.split(".", 1)
        for case in tree.parse(report).getroot().iter("testcase"):
            said, seconds = case.findtext("system-out", ""), float(case.get("time", 0))
            yield f"{stage}/{preset}", case.get("name"), seconds, said, verdict(case) == "failed"


def builds(folder, since):
    """(preset, what was built, seconds) of each step in the logs of ninja that have grown after `since`."""
    for log in sorted(folder.glob("*/.ninja_log")):
        if log.stat().st_mtime < since:
            continue
        latest = {}
        for line in log.read_text().splitlines()[1:]:
            start, end, _, output, _ = line.split("\t")
            latest[output] = (int(end) - int(start)) / 1000
        for output, seconds in latest.items():
            yield log.parent.name, output.replace("CMakeFiles/", ""), seconds


def print_table(title, rows):
    if rows:
        print(f"\n{title}")
    for seconds, where, name in rows:
        print(f"{seconds:7.1f} s  {where:<14} {name}")


def main(reports, folder, since):
    tests = list(cases(reports))
    print_table("the slowest tests", sorted(((t[2], t[0], t[1]) for t in tests), reverse=True)[:SLOWEST])
    steps = [(seconds, preset, output) for preset, output, seconds in builds(folder, since)]
    print_table("the slowest builds", sorted(steps, reverse=True)[:SLOWEST])
    for where, name, seconds, text, failed in tests:
        if failed:
            print(f"\nFAILED: {where}: {name} ({seconds:.1f} s); the end of what it printed:")
            for line in text.splitlines()[-LINES_OF_A_FAILURE:]:
                print(f"    {line}")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), float(sys.argv[3]))
