#!/usr/bin/env bash
# Sets up a Debian 12 machine and runs every test of joblot.
#
#   tests/run.sh                 everything
#   tests/run.sh STAGE...        some stages, in the given order (each builds what it needs)
#   tests/run.sh --list          the stages
#
# All stages run, whatever fails. Exit status 1 if anything did; at the end stands what took longest, what failed, and
# what only passed when it was run again (tests beside real clusters); the last line is "N passed, N failed".
# Everything is built below build/ (JOBLOT_JOBS=n: with n processes, default all CPUs).
set -uo pipefail
cd "$(dirname "$0")/.."

all_stages=(setup format layers gcc clang dask asan tsan compile_fail consumers docs fuzz)
jobs=${JOBLOT_JOBS:-$(nproc)}
logs=$PWD/build/test-logs
venv=$PWD/build/venv
passed=0 failed=0 table=() failures=() unstable=()

# What a stage found; run_stage adds it up.
stage_passed=0 stage_failed=0

# check NAME COMMAND...: one thing that works or does not.
check() {
    local name=$1
    shift
    if "$@"; then
        stage_passed=$((stage_passed + 1))
    else
        echo "FAILED: $name" >&2
        failures+=("FAILED: $stage: $name")
        stage_failed=$((stage_failed + 1))
        return 1
    fi
}

# ---- pieces

configure() {
    local preset=$1 options=("-DPython3_EXECUTABLE=$python" -DJOBLOT_TEST_UNITY=ON)
    # Only this script's own runs share a compiler cache; it stays below build/.
    if command -v ccache >/dev/null; then
        export CCACHE_DIR=$PWD/build/ccache CCACHE_MAXSIZE=2G
        options+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
    fi
    cmake --preset "$preset" "${options[@]}" >"$logs/$preset.configure.log" 2>&1 ||
        { cat "$logs/$preset.configure.log" >&2; return 1; }
}

# Builds a preset; says little unless it fails.
build() {
    local preset=$1
    configure "$preset" || return 1
    echo "building $preset ..."
    cmake --build --preset "$preset" --parallel "$jobs" -- -k 0 >"$logs/$preset.build.log" 2>&1 && return 0
    grep -E '(error|warning|FAILED):' -A 12 "$logs/$preset.build.log" | head -n 150 >&2
    failures+=("$(grep -E 'error:|FAILED:|undefined reference' -A 4 "$logs/$preset.build.log" | cut -c -200 | head -n 40)")
    echo "the whole log is $logs/$preset.build.log" >&2
    return 1
}

# tests PRESET CTEST_ARGUMENT...: runs ctest and adds its counts.
tests() {
    local preset=$1 report=$logs/$1.$stage.xml
    shift
    rm -f "$report"
    ctest --preset "$preset" --parallel "$jobs" --output-junit "$report" "$@" 2>&1 | tee "$logs/$preset.$stage.log"
    local counts
    counts=$(python3 scripts/junit_counts.py "$report") || { check "ctest of $preset" false; return; }
    read -r good bad <<<"$counts"
    if [ "$preset" = dev ] && ((bad > 0 && bad <= 2)); then try_again "$preset" "$report"; fi
    stage_passed=$((stage_passed + good)) stage_failed=$((stage_failed + bad))
}

# try_again PRESET REPORT: what failed, if it is a program beside real clusters, once more and alone. What a scheduler, a
# nanny and Python do on a busy machine is not ours; what fails twice is, and so is what fails under a sanitizer, or where
# only our code runs. What passes the second time is said at the end of the run, behind what it printed the first time.
try_again() {
    local preset=$1 name
    while read -r name; do
        [[ $name =~ ^(dask\.|examples\.) ]] || continue
        ctest --preset "$preset" -R "^${name//./\\.}\$" </dev/null 2>&1 | tee "$logs/$preset.$stage.$name.again.log"
        [ "${PIPESTATUS[0]}" = 0 ] || continue
        good=$((good + 1)) bad=$((bad - 1))
        unstable+=("UNSTABLE: $stage/$preset: $name failed beside others, and passed alone")
    done < <(python3 scripts/junit_counts.py "$2" --failed)
}

# What depends on how the code runs, under one preset.
build_and_test() {
    local preset=$1
    shift
    check "build of $preset" build "$preset"
    tests "$preset" "$@"
}

# ---- stages

# joblib is Python's original; its progress lines are compared with ours.
stage_setup() {
    check packages scripts/debian_packages.sh g++ cmake ninja-build git python3 python3-venv pkg-config ccache \
        clang-19 clang-tools-19 clang-format-19 libclang-rt-19-dev libc++-19-dev libc++abi-19-dev llvm-19 libtbb-dev libpng-dev \
        libcereal-dev libcatch2-dev/backports libboost1.81-dev nlohmann-json3-dev libssl-dev openssl iproute2 chromium \
        libeigen3-dev libfmt-dev libx11-dev libncurses-dev libglib2.0-dev python3-dev libomp-19-dev valgrind || return
    [ -x "$venv/bin/pip" ] || check "Python environment" python3 -m venv "$venv" || return
    "$venv/bin/python" -c 'import joblib' 2>/dev/null || check "joblib from PyPI" install_joblib
    "$venv/bin/python" -c 'import joblib; print("joblib", joblib.__version__)'
    [ -x "$venv/bin/cmake" ] || # for the module: Debian's is too old
        check "CMake from PyPI" "$venv/bin/pip" install --quiet --disable-pip-version-check 'cmake>=3.28'
}

install_joblib() {
    "$venv/bin/pip" install --quiet --disable-pip-version-check 'joblib==1.6.*' ||
        "$venv/bin/pip" install --quiet --disable-pip-version-check 'joblib>=1,<2'
}

stage_format() { check format scripts/check_format.sh; }

stage_layers() {
    check "include graph" python3 tests/support/include_graph.py include
    check "test of the include graph check" python3 tests/support/include_graph_test.py
    check "macros of others" python3 tests/support/macros_of_others.py include tests/neighbours/macros_of_others.hpp
    check "test of the check of macros" python3 tests/support/macros_of_others_test.py
}

own_stage='compile_fail|consumer|docs|dask' # ctest labels that have a stage of their own
stage_gcc() {
    check "Python environment with Dask, for examples" scripts/dask_environments.sh 2026.8.0
    build_and_test dev -LE "$own_stage"
}
# The tests are built with clang, too, and run, where the sanitizers are.
stage_clang() { check "build of clang" build clang; }
# Real clusters of every version of Dask that is supported. They wait more than they work: twice as many at once.
stage_dask() {
    check "Python environments with Dask" scripts/dask_environments.sh || return
    check "build of dev" build dev
    jobs=$((2 * jobs)) tests dev -L dask
}
stage_asan() { build_and_test asan; }
stage_tsan() { build_and_test tsan; }

# tests_that_build PRESET CTEST_ARGUMENT...: those that need a configured build folder only.
tests_that_build() {
    local preset=$1
    shift
    if configure "$preset"; then tests "$preset" "$@"; else check "configuration of $preset" false; fi
}
stage_compile_fail() {
    tests_that_build dev -L compile_fail
    tests_that_build clang -L compile_fail
}
# Of the second compiler what compiles most; how a project finds joblot is the same for both.
stage_consumers() {
    tests_that_build dev -L consumer
    tests_that_build clang -R '^consumer\.(two_tu|dask|module)$'
}
# With one: both compile the same constructs in tests and examples.
stage_docs() { tests_that_build dev -L docs; }
stage_fuzz() { check "short fuzz campaign" scripts/fuzz.sh --short; }

# ---- running them

run_stage() {
    stage=$1 stage_passed=0 stage_failed=0
    local start=$SECONDS
    printf '\n======== %s\n' "$stage"
    "stage_$stage"
    table+=("$(printf '%-14s %7d %7d %8d' "$stage" "$stage_passed" "$stage_failed" $((SECONDS - start)))")
    passed=$((passed + stage_passed)) failed=$((failed + stage_failed))
}

case ${1-} in
--list) echo "${all_stages[@]}"; exit 0 ;;
-*) sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
stages=("${@:-}")
[ $# -gt 0 ] || stages=("${all_stages[@]}")
for stage in "${stages[@]}"; do
    declare -F "stage_$stage" >/dev/null || { echo "tests/run.sh: no stage '$stage'; there are: ${all_stages[*]}" >&2; exit 2; }
done

mkdir -p "$logs"
rm -f "$logs"/*.xml
started=$(date +%s)
for stage in "${stages[@]}"; do
    python=python3
    [ ! -x "$venv/bin/python" ] || python=$venv/bin/python
    run_stage "$stage"
done

python3 scripts/test_report.py "$logs" build "$started"
[ ${#failures[@]} = 0 ] || printf '\n%s\n' "${failures[@]}"
[ ${#unstable[@]} = 0 ] || printf '\n%s\n' "${unstable[@]}"
printf '\n%-14s %7s %7s %8s\n' stage passed failed seconds
printf '%s\n' "${table[@]}"
printf '\n%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" = 0 ]
