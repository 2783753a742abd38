#!/usr/bin/env bash
# What takes too long or too much memory for every pull request: payloads of 3 GB (7 GB of memory), the stress tests
# again and again, and the fuzzers.
#
#   scripts/slow_tests.sh [SECONDS]     SECONDS: for each fuzzer, and for the stress tests (default 600)
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-600}

cmake --preset dev >/dev/null
cmake --build --preset dev --parallel "${JOBLOT_JOBS:-$(nproc)}" --target joblot_processes_tests joblot_conformance_tests
build/dev/tests/joblot_processes_tests '[.slow]'

end=$((SECONDS + seconds)) rounds=0
while [ $SECONDS -lt $end ]; do
    build/dev/tests/joblot_conformance_tests '[stress]' --reporter compact
    rounds=$((rounds + 1))
done
echo "$rounds rounds of the stress tests"

scripts/fuzz.sh "$seconds"
