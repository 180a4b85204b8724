#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs the fuzz targets with libFuzzer, one after the other, from their corpora.
#
#   tests/campaign.sh fuzz [--seconds N] [--target T] [--minimise]
#
# --seconds: of each target, default 300. --target: codec, stored, snapshots, names, calls; default: all.
# --minimise: adds to tests/fuzz/corpus what reaches code that nothing there reaches, in as few files as
# possible. New inputs lie in FUZZ_DIR (build-fuzz/found), crashes beside them.
#
# Environment: FUZZ_DIR, MOM_BUILD_DIR (build-fuzz), MOM_JOBS. Needs clang with libFuzzer.
set -euo pipefail

cd "$(dirname "$0")/../.."
build=${MOM_BUILD_DIR:-build-fuzz}
found=${FUZZ_DIR:-$build/found}
jobs=${MOM_JOBS:-$(nproc)}
seconds=300
targets=()
minimise=no
while [ $# -gt 0 ]; do
    case $1 in
    --seconds) seconds=$2 && shift 2 ;;
    --target) targets+=("$2") && shift 2 ;;
    --minimise) minimise=yes && shift ;;
    *) echo "usage: fuzz [--seconds N] [--target T] [--minimise]" >&2 && exit 2 ;;
    esac
done
if [ ${#targets[@]} -eq 0 ]; then
    for source in tests/fuzz/fuzz_*.c; do
        name=$(basename "$source" .c)
        targets+=("${name#fuzz_}")
    done
fi

cmake -S . -B "$build" -G Ninja -DCMAKE_C_COMPILER="${CC:-clang}" -DCMAKE_BUILD_TYPE=RelWithDebInfo \
    -DMOM_CHECKS=ON -DMOM_SANITIZE=fuzzer-no-link,address,undefined -DMOM_BUILD_EXAMPLES=OFF >/dev/null
ninja -C "$build" -j "$jobs" "${targets[@]/#/fuzz_}" | tail -n 1

failed=()
for target in "${targets[@]}"; do
    mkdir -p "$found/$target"
    log=$found/$target.log
    corpus=tests/fuzz/corpus/$target
    program=$build/tests/fuzz/fuzz_$target
    if ! "$program" -max_total_time="$seconds" -max_len=6000 -rss_limit_mb=1500 -print_final_stats=1 \
        -artifact_prefix="$found/$target-" "$found/$target" "$corpus" >"$log" 2>&1; then
        failed+=("$target")
        grep -E 'ERROR|broken invariant|runtime error|Test unit written' "$log" || tail -n 20 "$log"
    fi
    printf '%-10s %s\n' "$target" "$(grep -E '^stat::number_of_executed_units|cov: ' "$log" |
        tail -n 2 | sed -E 's/.*(cov: [0-9]+ ft: [0-9]+).*/\1/' | tr '\n' ' ')"
    if [ "$minimise" = yes ]; then
        "$program" -merge=1 "$corpus" "$found/$target" >>"$log" 2>&1
    fi
done
if [ ${#failed[@]} -gt 0 ]; then
    echo "failed: ${failed[*]}; an input is replayed by: $build/tests/fuzz/fuzz_TARGET FILE"
    exit 1
fi
