#!/usr/bin/env bash
# Builds the fuzz targets and runs them, two at a time.
#
#   scripts/fuzz.sh [SECONDS]    each for that long (default 600); what was found earlier is built upon
#   scripts/fuzz.sh --short      each for a fixed number of runs from the seeds: for tests/run.sh
#
# Inputs that fail are kept below build/fuzz/; run build/clang/tests/fuzz/joblot_fuzz_TARGET FILE to see one again.
# Exit status 1 if there is one.
set -euo pipefail
cd "$(dirname "$0")/.."

mode=${1-}
case $mode in
'') limit=(-max_total_time=600) ;;
--short) limit=(-runs=200000 -seed=1) ;;
*[!0-9]*) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 2 ;;
*) limit=("-max_total_time=$1") ;;
esac

programs=build/clang/tests/fuzz
work=build/fuzz
mkdir -p "$work"
log=$work/build.log
if ! { [ -f build/clang/build.ninja ] || cmake --preset clang; } >"$log" 2>&1 ||
    ! cmake --build --preset clang --parallel "${JOBLOT_JOBS:-$(nproc)}" \
        --target joblot_fuzz_frame joblot_fuzz_codec joblot_fuzz_corpus \
        joblot_fuzz_dask_message joblot_fuzz_pickle joblot_fuzz_dask_corpus >>"$log" 2>&1; then
    cat "$log" >&2
    exit 1
fi
rm -rf "$work/seeds"
"$programs/joblot_fuzz_corpus" "$work/seeds"
"$programs/joblot_fuzz_dask_corpus" tests/dask/captured "$work/seeds"

# What no input may need: more than 10 s, one allocation of 256 MB, 2 GB in all.
options=(-max_len=16384 -timeout=10 -malloc_limit_mb=256 -rss_limit_mb=2048 -print_final_stats=1)
export PATH=$PATH:/usr/lib/llvm-19/bin UBSAN_OPTIONS=print_stacktrace=1
# campaign TARGET: what it found is in work/TARGET.log; true if nothing.
campaign() {
    local target=$1 corpus=$work/corpus_$1
    if [ "$mode" = --short ]; then # the same runs every time
        corpus=$work/short_$target
        rm -rf "$corpus"
    fi
    mkdir -p "$corpus"
    "$programs/joblot_fuzz_$target" "${limit[@]}" "${options[@]}" "-artifact_prefix=$work/$target-" \
        "$corpus" "$work/seeds/fuzz_$target" >"$work/$target.log" 2>&1
}

# Two at a time.
failed=0
for pair in "frame dask_message" "codec pickle"; do
    declare -A running=()
    for target in $pair; do
        campaign "$target" &
        running[$target]=$!
    done
    for target in $pair; do
        if wait "${running[$target]}"; then
            echo "fuzz_$target: $(grep '^Done' "$work/$target.log")"
        else
            tail -n 100 "$work/$target.log" >&2
            echo "fuzz_$target: FAILED; the whole log is $work/$target.log" >&2
            failed=1
        fi
    done
done
exit $failed
