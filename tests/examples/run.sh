#!/usr/bin/env bash
# Tests the example programs from the outside: tests/examples/run.sh BIN_DIR, the folder that holds the built programs.
# Prints "ok" and "not ok" lines and a summary; the exit status is 0 when everything passed. Needs Python 3.9 or later.
set -euo pipefail

if [[ $# -ne 1 || ! -d $1 ]]; then
    echo "usage: $0 BIN_DIR (the folder that holds the built examples)" >&2
    exit 2
fi
exec python3 -B "$(dirname "${BASH_SOURCE[0]}")/run_all.py" "$1"
