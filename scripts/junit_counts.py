#!/usr/bin/env python3
"""Prints "PASSED FAILED" of a report that ctest wrote with --output-junit, or, with --failed, the names of what failed.
A test that was not run counts as failed, unless it said itself that it must be skipped.

    junit_counts.py REPORT [--failed]
"""

import sys
import xml.etree.ElementTree as tree


def verdict(case):
    """"passed", "failed" or "skipped", of a test in a report."""
    if case.get("status") == "run":
        return "passed"
    skipped = case.find("skipped")
    if case.get("status") == "notrun" and skipped is not None and "SKIP_" in skipped.get("message", ""):
        return "skipped"
    return "failed"


def counts(report):
    found = {"passed": 0, "failed": 0, "skipped": 0}
    for case in tree.parse(report).getroot().iter("testcase"):
        how = verdict(case)
        found[how] += 1
        if how == "skipped":
            print(f"skipped: {case.get('name')}", file=sys.stderr)
    return found["passed"], found["failed"]


if __name__ == "__main__":
    if "--failed" in sys.argv:
        cases = tree.parse(sys.argv[1]).getroot().iter("testcase")
        print(*(case.get("name") for case in cases if verdict(case) == "failed"), sep="\n")
    else:
        print(*counts(sys.argv[1]))
