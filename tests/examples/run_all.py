"""Runs every test of this folder; run.sh says how to call it."""

import importlib
import os
import pathlib
import sys

import harness

EXAMPLES = ("checksum_tree", "crash_isolation", "long_sweep", "mandelbrot", "option_pricing", "parallel_simple",
            "shared_model", "streaming")


def main():
    harness.bin_dir = pathlib.Path(sys.argv[1]).resolve()
    missing = [name for name in EXAMPLES if not os.access(harness.bin_dir / name, os.X_OK)]
    if missing:
        print(f"not ok - these programs are not in {harness.bin_dir}: {', '.join(missing)}")
        return 1
    for file in sorted(pathlib.Path(__file__).parent.glob("test_*.py")):
        importlib.import_module(file.stem)
    return harness.run_all()


if __name__ == "__main__":
    sys.exit(main())
