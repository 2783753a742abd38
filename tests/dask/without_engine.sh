#!/usr/bin/env bash
# A program in which no file includes joblot/dask/engine.hpp is not linked, and the linker names what to include.
#
#   without_engine.sh COMPILER INCLUDE_DIR
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
printf '#include <joblot/dask.hpp>\nint main() { return joblot::dask::Client().ncores().empty(); }\n' >"$folder/main.cpp"
"$1" -std=c++20 -O0 -I"$2" -pthread -c "$folder/main.cpp" -o "$folder/main.o"
if "$1" -pthread "$folder/main.o" -o "$folder/program" 2>"$folder/said"; then
    echo "it is linked"
    exit 1
fi
grep include_joblot_dask_engine_hpp_in_the_file_that_calls_init "$folder/said"
if grep 'undefined reference' "$folder/said" | grep -v include_joblot_dask_engine_hpp; then
    echo "that is missing, too"
    exit 1
fi
