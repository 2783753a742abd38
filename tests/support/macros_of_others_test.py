#!/usr/bin/env python3
"""Shows that macros_of_others.py turns red on every use that a macro would replace, and on no other."""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

CHECK = Path(__file__).with_name("macros_of_others.py")
LIST = "#define min(a, b) x\n#define check(a) x\n#define None x\n"
OFF = '#pragma push_macro("min")\n#undef min\n'
BACK = '#pragma pop_macro("min")\n'


class MacrosOfOthers(unittest.TestCase):
    def problems(self, text, off=OFF, back=BACK):
        with tempfile.TemporaryDirectory() as folder:
            headers = Path(folder) / "include" / "joblot"
            (headers / "core").mkdir(parents=True)
            for name, content in (("a.hpp", text), ("core/macros_off.hpp", off), ("core/macros_back.hpp", back)):
                (headers / name).write_text(content, encoding="utf-8")
            listing = Path(folder) / "list.hpp"
            listing.write_text(LIST, encoding="utf-8")
            run = subprocess.run([sys.executable, CHECK, headers.parent, listing], capture_output=True, text=True,
                                 check=False)
            return run.returncode, run.stderr

    def assert_green(self, text, **files):
        self.assertEqual(self.problems(text, **files), (0, ""))

    def assert_red(self, reason, text, **files):
        status, messages = self.problems(text, **files)
        self.assertEqual(status, 1)
        self.assertIn(reason, messages)

    def test_call_of_a_macro(self):
        self.assert_red("a.hpp:2: `check`", "\nvoid f() { check (1); }\n")

    def test_macro_without_parameters(self):
        self.assert_red("a.hpp:1: `None`", "enum class e { None };\n")

    def test_what_is_put_aside(self):
        self.assert_green("int i = std::min(1, 2);\n")

    def test_name_without_parenthesis(self):
        self.assert_green("int check = 1;\nint i = (check)(2);\n")

    def test_no_code(self):
        self.assert_green('// check(1) None\n/* check(1)\n*/ const char* t = "None \\" check(1)";\n')

    def test_what_is_not_brought_back(self):
        self.assert_red("macros_back.hpp does not bring back", "", back="")


if __name__ == "__main__":
    unittest.main()
