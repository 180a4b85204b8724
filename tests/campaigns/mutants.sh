#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs every deliberate bug through the simulator, and prints which check finds it after how many seeds.
#
#   mutants.sh [--limit N] [--first SEED] [NAME...]      2000 seeds from 1, all of them
#
# MOM_BIN is the folder of mom-sim-mutants; without it the tree is built first. MOM_JOBS mutants run at a time.
# The last line counts; the exit status is 0 whatever is found: tests/mutants.sh is the judge.
set -uo pipefail

limit=2000
first=1
names=()
while [ $# -gt 0 ]; do
    case $1 in
    --limit) limit=$2; shift ;;
    --first) first=$2; shift ;;
    -*) echo "unknown option $1" >&2; exit 2 ;;
    *) names+=("$1") ;;
    esac
    shift
done

cd "$(dirname "$0")/../.." || exit 1
if [ -z "${MOM_BIN:-}" ]; then
    cmake -S . -B build -G Ninja >/dev/null && cmake --build build --target mom-sim-mutants >/dev/null || exit 1
    MOM_BIN=build/bin
fi
sim=$MOM_BIN/mom-sim-mutants
if [ ${#names[@]} -eq 0 ]; then
    mapfile -t names < <("$sim" --mutants | awk '{ print $2 }')
fi

room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
trap 'exit 130' INT TERM

# try NAME: one line for the table.
try() {
    local log last seeds check
    log=$("$sim" --mutant "$1" --seeds "$first-$((first + limit - 1))" --stop-at-first 2>&1)
    last=$(tail -n 1 <<<"$log")
    seeds=$(sed -nE 's/^found after ([0-9]+) seeds$/\1/p' <<<"$log")
    if [ -n "$seeds" ]; then
        # Numbers out, so that equal checks look equal.
        check=$(sed -nE 's/^VIOLATION seed [0-9]+: //p' <<<"$log" | head -n 1)
        printf '%-28s %6s  %s\n' "$1" "$seeds" "${check:-the process died, or hung}"
    elif [[ $last == "not found"* ]]; then
        printf '%-28s %6s  %s\n' "$1" - "NOT FOUND in $limit seeds"
    else
        printf '%-28s %6s  %s\n' "$1" - "DID NOT RUN: $last"
    fi
}

jobs=${MOM_JOBS:-$(nproc)}
for name in "${names[@]}"; do
    while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do
        wait -n
    done
    try "$name" >"$room/$name" &
done
wait
printf '%-28s %6s  %s\n' mutant seeds 'found by'
for name in "${names[@]}"; do
    cat "$room/$name"
done
found=$(cat "$room"/* | awk '$2 != "-"' | wc -l)
echo "$found of ${#names[@]} found within $limit seeds"
