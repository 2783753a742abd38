# SPDX-License-Identifier: BSL-1.0
"""Compiles a program with MemorySanitizer and runs it: run.py CLANG SOURCE INCLUDE_FOLDER.

Ends with 77, which means skipped, where the compiler has no such sanitizer.
"""
import pathlib
import subprocess
import sys
import tempfile


def main():
    clang, source, include = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        program = str(pathlib.Path(folder) / "program")
        build = [clang, "-std=c++20", "-O1", "-g1", "-fsanitize=memory", f"-I{include}", "-pthread", "-o", program]
        empty = pathlib.Path(folder) / "empty.cpp"
        empty.write_text("int main() {}\n")
        if subprocess.run([*build, empty], capture_output=True).returncode or subprocess.run([program]).returncode:
            print(f"{clang} cannot build programs with -fsanitize=memory, or they do not start")
            return 77
        subprocess.run([*build, source, "-ldl"], check=True)
        return subprocess.run([program]).returncode


sys.exit(main())
