#!/usr/bin/env python3
"""Shows that check.py turns red on every kind of bad case.

    check_test.py COMPILER
"""

import sys
import tempfile
import unittest
from pathlib import Path

import check

COMPILER = sys.argv.pop() if len(sys.argv) > 1 else "c++"
CASE = """\
// expect: the reason
#ifndef JOBLOT_FIXED
static_assert(false, "the reason");
#endif
"""


class Check(unittest.TestCase):
    def complaint(self, text):
        with tempfile.TemporaryDirectory() as folder:
            case = Path(folder) / "case.cpp"
            case.write_text(text, encoding="utf-8")
            return check.judge(case, COMPILER, [])[0]

    def test_good_case(self):
        self.assertIsNone(self.complaint(CASE))

    def test_case_that_compiles(self):
        self.assertEqual(self.complaint("// expect: the reason\n"), "compiles, and should not")

    def test_another_error(self):
        self.assertEqual(self.complaint(CASE.replace('"the reason"', '"else"')), "gives another error than /the reason/")

    def test_all_expectations_count(self):
        self.assertEqual(self.complaint("// expect: and more\n" + CASE), "gives another error than /and more/")

    def test_expectation_of_one_compiler(self):
        other = "g++" if "clang" in COMPILER else "clang"
        self.assertIsNone(self.complaint(f"// expect-{other}: and more\n" + CASE))

    def test_two_errors(self):
        self.assertEqual(self.complaint(CASE.replace("#endif", "int x = unknown;\n#endif")),
                         "gives 2 errors instead of one")

    def test_several_mistakes(self):
        case = ('#ifndef JOBLOT_FIXED\nstatic_assert(false, "a"); // error: assertion.*: "?a"?$\n'
                'static_assert(false, "b"); // error: assertion.*: "?b"?$\n#endif\n')
        self.assertIsNone(self.complaint(case))
        self.assertEqual(self.complaint(case.replace('"b"', '"a"')), 'gives another error than /assertion.*: "?b"?$/')
        self.assertEqual(self.complaint(case.replace("#endif", "int x = unknown;\n#endif")),
                         "gives 3 errors instead of 2")

    def test_control_that_fails_too(self):
        self.assertEqual(self.complaint(CASE + "int x = unknown;\n"), "does not compile with -DJOBLOT_FIXED either")

    def test_control_that_warns(self):
        self.assertEqual(self.complaint(CASE + "int f() { int unused; return 0; }\n"), "does not compile with -DJOBLOT_FIXED either")

    def test_flags_of_the_case(self):
        self.assertIsNone(self.complaint("// expect: the reason\n// flags: -DWRONG\n// fixed flags: -DRIGHT=1\n"
                                         '#ifdef WRONG\nstatic_assert(false, "the reason");\n#endif\n'
                                         "#ifdef JOBLOT_FIXED\nint x = RIGHT;\n#endif\n"))

    def test_no_expectation(self):
        self.assertEqual(self.complaint("int x;\n"), "says nothing of what to expect")


if __name__ == "__main__":
    unittest.main()
