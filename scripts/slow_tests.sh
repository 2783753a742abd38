#!/usr/bin/env bash
# What takes too long or too much memory for every pull request: payloads of 3 GB (7 GB of memory), the stress tests
# again and again, and the fuzzers.
#
#   scripts/slow_tests.sh [SECONDS]     SECONDS: for each fuzzer, and for the stress tests (default 600)
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-600}

scripts/dask_environments.sh
cmake --preset dev -DJOBLOT_DASK_THOROUGH=ON >/dev/null
cmake --build --preset dev --parallel "${JOBLOT_JOBS:-$(nproc)}"
build/dev/tests/joblot_processes_tests '[.slow]'
ctest --preset dev -L dask
cmake --preset dev -DJOBLOT_DASK_THOROUGH=OFF >/dev/null

end=$((SECONDS + seconds)) rounds=0
while [ $SECONDS -lt $end ]; do
    build/dev/tests/joblot_conformance_tests '[stress]' --reporter compact
    rounds=$((rounds + 1))
done
echo "$rounds rounds of the stress tests"

scripts/fuzz.sh "$seconds"
