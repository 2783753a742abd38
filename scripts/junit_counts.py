#!/usr/bin/env python3
"""Prints "PASSED FAILED" of a report that ctest wrote with --output-junit. A test that was not run counts as failed,
unless it said itself that it must be skipped."""

import sys
import xml.etree.ElementTree as tree


def counts(report):
    passed = failed = 0
    for case in tree.parse(report).getroot().iter("testcase"):
        status = case.get("status")
        skipped = case.find("skipped")
        if status == "run":
            passed += 1
        elif status == "notrun" and skipped is not None and "SKIP_" in skipped.get("message", ""):
            print(f"skipped: {case.get('name')}", file=sys.stderr)
        else:
            failed += 1
    return passed, failed


if __name__ == "__main__":
    print(*counts(sys.argv[1]))
