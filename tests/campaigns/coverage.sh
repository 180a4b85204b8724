#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Counts which lines of lib/ the tests run: unit, contract, integration, and simulator seeds.
#
#   tests/campaign.sh coverage [--seeds N] [--lines PREFIX]
#
# --seeds: simulated runs, default 500. --lines lib/core prints the lines that nothing ran there. Fails
# below 95 % of lib/core or 88 % of lib, and when docs/coverage.md does not explain what is not run in
# lib/core. Environment: MOM_BUILD_DIR (build-coverage), MOM_JOBS.
set -euo pipefail

cd "$(dirname "$0")/../.."
build=${MOM_BUILD_DIR:-build-coverage}
jobs=${MOM_JOBS:-$(nproc)}
seeds=500
lines=()
while [ $# -gt 0 ]; do
    case $1 in
    --seeds) seeds=$2 && shift 2 ;;
    --lines) lines=(--lines "$2") && shift 2 ;;
    *) echo "usage: coverage [--seeds N] [--lines PREFIX]" >&2 && exit 2 ;;
    esac
done
# Without the checks after every step: with them, and counted, some tests take minutes.
cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS_DEBUG="-Og -g" \
    -DMOM_CHECKS=OFF -DMOM_COVERAGE=ON >/dev/null
cmake --build "$build" -j "$jobs" | tail -n 1
find "$build" -name '*.gcda' -delete
# What fails is said, and counted all the same.
ctest --test-dir "$build" -L '^(unit|contract|integration)$' -j "$jobs" --timeout 900 | tail -n 12 || true
# A process for each seed: the workers of a range end without writing their counters.
seq "$seeds" | xargs -P "$jobs" -I{} "$build/bin/mom-sim" --seed {} --quiet >/dev/null || true
python3 tests/coverage/report.py "$build" "${lines[@]}" --core 95 --all 88 \
    --explained docs/coverage.md
