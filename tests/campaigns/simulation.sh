#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs many seeds of the simulator, and keeps what fails.
#
#   simulation.sh [--seeds N] [--first SEED]      50000 seeds from one that the commit decides
#
# MOM_BIN is the folder of mom-sim; without it the tree is built first. MOM_JOBS seeds run at a time. The whole
# output is in simulation.log beside mom-sim's folder; the summary and the violations are printed.
set -uo pipefail

seeds=50000
first=
while [ $# -gt 1 ]; do
    case $1 in
    --seeds) seeds=$2 ;;
    --first) first=$2 ;;
    *) echo "unknown option $1" >&2; exit 2 ;;
    esac
    shift 2
done

cd "$(dirname "$0")/../.." || exit 1
if [ -z "${MOM_BIN:-}" ]; then
    cmake -S . -B build -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo >/dev/null &&
        cmake --build build --target mom-sim >/dev/null || exit 1
    MOM_BIN=build/bin
fi
if [ -z "$first" ]; then
    commit=$(git rev-parse --short=7 HEAD 2>/dev/null || echo 0)
    first=$((16#${commit:0:7} * 100000))
fi
log=$MOM_BIN/../simulation.log
start=$SECONDS
"$MOM_BIN/mom-sim" --seeds "$first" "$seeds" --jobs "${MOM_JOBS:-$(nproc)}" >"$log" 2>&1
status=$?
grep -E '^VIOLATION|^a job ended|^median|ZERO|passed, ' "$log"
echo "$seeds seeds from $first in $((SECONDS - start)) s; all of it in $log"
exit $status
