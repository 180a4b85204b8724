#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Cuts the power of recorded nodes at many moments, and opens what that may leave.
#
#   power.sh [--count N] [--mesh N] [--aside N] [--seed N] [--mutants N]
#
# 100000 directories of one node alone, 2000 cuts of three nodes at once, 2000 directories whose store is being set
# aside, from seed 1. --mutants N tries instead each recorder that leaves out a kind of sync, in at most N
# directories. MOM_BIN is the folder of the program mom-power; without it the tree is built first. What was lost is
# kept in power-lost beside that folder, where the whole output is, too: power.log.
set -uo pipefail

count=100000
mesh=2000
aside=2000
seed=1
mutants=0
while [ $# -gt 1 ]; do
    case $1 in
    --count) count=$2 ;;
    --mesh) mesh=$2 ;;
    --aside) aside=$2 ;;
    --seed) seed=$2 ;;
    --mutants) mutants=$2 ;;
    *) echo "unknown option $1" >&2; exit 2 ;;
    esac
    shift 2
done

cd "$(dirname "$0")/../.." || exit 1
if [ -z "${MOM_BIN:-}" ]; then
    cmake -S . -B build -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo >/dev/null &&
        cmake --build build --target mom-power >/dev/null || exit 1
    MOM_BIN=build/bin
fi

if [ "$mutants" -gt 0 ]; then
    missed=0
    for name in wal table manifest current database directory parent identity mark; do
        log=$("$MOM_BIN/mom-power" --count "$mutants" --mesh 0 --seed "$seed" --mutant "$name")
        after=$(sed -nE 's/^([0-9]+) directories in .*/\1/p' <<<"$log")
        what=$(sed -nE 's/^LOST: .*, data [a-z]+: //p' <<<"$log" | head -n 1 | cut -c 1-90)
        printf '%-10s %6s  %s\n' "$name" "$after" "${what:-NOT FOUND}"
        [ -n "$what" ] || missed=$((missed + 1))
    done
    echo "$missed of 9 not found"
    [ "$missed" -eq 0 ]
    exit
fi

start=$SECONDS
"$MOM_BIN/mom-power" --count "$count" --mesh "$mesh" --aside "$aside" --seed "$seed" \
    --keep "$MOM_BIN/../power-lost" 2>&1 |
    tee "$MOM_BIN/../power.log"
status=${PIPESTATUS[0]}
echo "$((SECONDS - start)) s"
exit "$status"
