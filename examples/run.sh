#!/usr/bin/env bash
# Shows joblot at work: installs what is missing on a Debian 12 machine, builds the examples and runs six of them.
#
#   examples/run.sh [DIR]        DIR: the tree whose files are summed (default: /usr/share/doc, else /usr/include)
set -euo pipefail
cd "$(dirname "$0")/.."
build=build/examples
mkdir -p build

say() { printf '\n=== %s\n' "$*"; }

# Prints a command and runs it; its output may be redirected, the command's line is shown all the same.
exec 3>&1
show() { printf '\n$ %s\n' "$*" >&3; "$@"; }

say "Setting up: a compiler, CMake and libpng"
scripts/debian_packages.sh g++ cmake ninja-build libpng-dev
say "Setting up for the cluster: Boost's headers, nlohmann_json, OpenSSL, Eigen, and Python's venv"
scripts/debian_packages.sh libboost1.81-dev nlohmann-json3-dev libssl-dev libeigen3-dev python3 python3-venv ||
    echo "Not installed (Debian's libboost-dev, which is 1.74, excludes them): going on without the cluster." >&2

say "Building the examples (g++, Release)"
cmake -S . -B "$build" -G Ninja -DCMAKE_CXX_COMPILER=g++ -DCMAKE_BUILD_TYPE=Release -DJOBLOT_BUILD_EXAMPLES=ON \
    -DJOBLOT_BUILD_TESTS=OFF -DJOBLOT_BUILD_BENCH=OFF -DJOBLOT_WERROR=OFF \
    -DCMAKE_RUNTIME_OUTPUT_DIRECTORY="$PWD/$build/bin" >"$build.log" 2>&1 || { cat "$build.log" >&2; exit 1; }
cmake --build "$build" --parallel "$(nproc)"

say "parallel_simple: ten tasks of 0.1 s on two workers take 0.5 s; joblib's progress lines on the way"
show "$build/bin/parallel_simple"

tree=${1:-/usr/share/doc}
[ -n "$(find "$tree" -type f -print -quit 2>/dev/null)" ] || tree=/usr/include
say "checksum_tree: CRC and size of every file below $tree on all CPUs, as cksum prints them"
status=0
show "$build/bin/checksum_tree" "$tree" >build/checksum_tree.txt || status=$?
[ "$status" -le 1 ] || exit "$status" # 1: some files could not be read; it said which
echo "$(wc -l <build/checksum_tree.txt) files; the first three of build/checksum_tree.txt:"
head -n 3 build/checksum_tree.txt
if find "$tree" -type f -print0 | xargs -0 -r cksum 2>/dev/null | LC_ALL=C sort >build/cksum.txt &&
    LC_ALL=C sort build/checksum_tree.txt | cmp -s - build/cksum.txt; then
    echo "The system's own cksum says the same of all of them."
else
    echo "The system's own cksum differs (files that change or cannot be read?): compare build/cksum.txt" >&2
fi

say "mandelbrot: a picture in tiles of very uneven cost, on all CPUs"
show "$build/bin/mandelbrot" --output build/mandelbrot.png
ls -l build/mandelbrot.png

say "crash_isolation: tasks that crash, hang, leak and throw in worker processes, and are reported one by one"
show "$build/bin/crash_isolation"

# find_python MODULES: prints a Python that has them: one that is there, else a virtual environment below build/.
find_python() {
    local python
    for python in "${JOBLOT_PYTHON:-python3}" python3 "$PWD/build/dask-2026.8.0/bin/python"; do
        if "$python" -c "import $1" 2>/dev/null; then echo "$python"; return; fi
    done
    echo "No Python here has $1: installing them from PyPI below build/" >&2
    scripts/dask_environments.sh 2026.8.0 >"$build.dask.log" 2>&1 || return
    echo "$PWD/build/dask-2026.8.0/bin/python"
}

say "distributed_backend_simple: the loop of parallel_simple, on a Dask cluster that it starts on this machine"
if [ ! -x "$build/bin/distributed_backend_simple" ]; then
    echo "NOT RUN: it was not built, as Boost's headers (1.81 or newer) or nlohmann_json are missing."
elif ! python=$(find_python distributed); then
    echo "NOT RUN: there is no Python with Dask, and none could be made (it needs python3-venv and PyPI;" \
        "see $build.dask.log)."
else
    export JOBLOT_PYTHON=$python
    show "$build/bin/distributed_backend_simple"
    show "$build/bin/option_pricing" --backend dask >build/option_pricing.dask.txt
    "$build/bin/option_pricing" --backend threads | cmp build/option_pricing.dask.txt -
    echo "option_pricing gives the same bits on the cluster and on threads."
fi

say "python_and_cpp.py: Python prepares data on a cluster, grid_search in C++ works on it, scikit-learn agrees"
if [ ! -x "$build/bin/grid_search" ]; then
    echo "NOT RUN: grid_search was not built, as Boost's headers (1.81 or newer), nlohmann_json or Eigen (3.4) are missing."
elif ! python=$(find_python 'distributed, joblib, sklearn'); then
    echo "NOT RUN: there is no Python with Dask and scikit-learn, and none could be made (see $build.dask.log)."
else
    show "$python" examples/python_and_cpp.py "$build/bin/grid_search" --compare
fi

say "Done. More: option_pricing, shared_model and streaming in $build/bin, each with --help"
