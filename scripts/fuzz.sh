#!/usr/bin/env bash
# Builds the fuzz targets and runs them, two at a time.
#
#   scripts/fuzz.sh [SECONDS]    each for that long (default 600); what was found earlier is built upon
#   scripts/fuzz.sh --long       1e8 inputs in all, likewise: an hour or two. What was stopped goes on where it was
#   scripts/fuzz.sh --short      each for a fixed number of runs from the seeds: for tests/run.sh
#   scripts/fuzz.sh --keep       fuzzes nothing; puts the fewest inputs that lead to all that was found into tests/fuzz/corpus
#
# All start from the seeds, which are written anew, and from tests/fuzz/corpus.
# Prints a line for each. What led to new code is kept in build/fuzz/corpus_TARGET, how many inputs --long has had in
# build/fuzz/TARGET.runs, inputs that fail as build/fuzz/TARGET-*; run build/clang/tests/fuzz/joblot_fuzz_TARGET FILE to see one again.
# Exit status 1 if there is one.
set -euo pipefail
cd "$(dirname "$0")/.."

# Of each: thousands of inputs of --short and of --long, about as its speed is; the longest input in bytes.
declare -A short long longest
add() { short[$1]=$2 long[$1]=$3 longest[$1]=$4; }
add dask_message 60 5000 16384
add pickle 60 8000 16384
add frame 60 7000 16384
add codec 60 37500 16384
add answer 20 2000 512
add board 6 500 256
add block 40 25000 16384
add dask_answer 40 15000 16384
targets=(dask_message pickle frame codec answer board block dask_answer)

mode=${1-}
case $mode in
'' | --short | --long | --keep) ;;
*[!0-9]*) sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac

programs=build/clang/tests/fuzz
work=build/fuzz
mkdir -p "$work"
log=$work/build.log
if ! { [ -f build/clang/build.ninja ] || cmake --preset clang; } >"$log" 2>&1 ||
    ! cmake --build --preset clang --parallel "${JOBLOT_JOBS:-$(nproc)}" \
        --target joblot_fuzz_corpus joblot_fuzz_dask_corpus "${targets[@]/#/joblot_fuzz_}" >>"$log" 2>&1; then
    cat "$log" >&2
    exit 1
fi
rm -rf "$work/seeds"
"$programs/joblot_fuzz_corpus" "$work/seeds"
"$programs/joblot_fuzz_dask_corpus" tests/dask/captured "$work/seeds"

kept=tests/fuzz/corpus
rm -rf "$work/kept"
mkdir "$work/kept"
for archive in "$kept"/*.tar.gz; do tar -C "$work/kept" -xf "$archive"; done

# What no input may need: more than 10 s, one allocation of 256 MB, 2 GB in all.
options=(-timeout=10 -malloc_limit_mb=256 -rss_limit_mb=2048 -print_final_stats=1)
export PATH=$PATH:/usr/lib/llvm-19/bin UBSAN_OPTIONS=print_stacktrace=1
# The sanitizer's stacks for use after return are searched at each throw: without them, and with less of what was freed and
# of where it was allocated, there are about twice as many inputs in the same time. The short campaign, and failures that
# are seen again, have all of that.
[ "$mode" != --long ] || export ASAN_OPTIONS=detect_stack_use_after_return=0:quarantine_size_mb=16:malloc_context_size=1:max_malloc_fill_size=0
# run TARGET CORPUS OPTION...: one run of the fuzzer; true if it found nothing.
run() {
    local target=$1 corpus=$2
    shift 2
    mkdir -p "$corpus"
    "$programs/joblot_fuzz_$target" "$corpus" "$@" "${options[@]}" "-max_len=${longest[$target]}" \
        "-artifact_prefix=$work/$target-" "$work/seeds/fuzz_$target" "$work/kept/$target" >"$work/$target.log" 2>&1 && return
    tail -n 100 "$work/$target.log" >&2
    echo "fuzz_$target: FAILED; the whole log is $work/$target.log" >&2
    return 1
}
# run_long TARGET: up to its number of runs, in parts, each of which is counted when it is over.
run_long() {
    local count=$work/$1.runs runs left part=250000
    while runs=$(cat "$count" 2>/dev/null || echo 0) && left=$((${long[$1]}000 - runs)) && ((left > 0)); do
        ((part < left)) || part=$left
        run "$1" "$work/corpus_$1" "-runs=$part" || return
        echo $((runs + part)) >"$count"
    done
    echo "fuzz_$1: $runs runs"
}
# keep TARGET: the fewest inputs that lead to the same code, of those found here and of those that were kept.
keep() {
    local fewest=$work/fewest/$1
    rm -rf "$fewest"
    mkdir -p "$fewest" "$work/corpus_$1"
    run "$1" "$fewest" -merge=1 "$work/corpus_$1" || return
    tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$work/fewest" -czf "$kept/$1.tar.gz" "$1"
    echo "fuzz_$1: $(find "$fewest" -type f | wc -l) inputs are kept"
}
# campaign TARGET: says how it ended, and what was found; true if nothing.
campaign() {
    local target=$1 corpus=$work/corpus_$1
    case $mode in
    --short) # the same runs every time
        corpus=$work/short_$target
        rm -rf "$corpus"
        run "$target" "$corpus" "-runs=${short[$target]}000" -seed=1 || return
        ;;
    --long) run_long "$target" || return ;;
    --keep) keep "$target"; return ;;
    *) run "$target" "$corpus" "-max_total_time=${mode:-600}" || return ;;
    esac
    echo "fuzz_$target: $(grep '^Done' "$work/$target.log"), $(find "$corpus" -type f | wc -l) inputs in its corpus"
}

# Two at a time.
failed=0
for i in "${!targets[@]}"; do
    if ((i >= 2)); then wait -n || failed=1; fi
    campaign "${targets[i]}" &
done
for _ in 1 2; do wait -n || failed=1; done
exit $failed
