#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Lets every single allocation of the API scenarios fail, not only a sample of them.
#
#   tests/campaign.sh memory [--step N]
#
# --step: every N-th allocation, default 1. Environment: MOM_BUILD_DIR (build).
set -euo pipefail

cd "$(dirname "$0")/../.."
build=${MOM_BUILD_DIR:-build}
step=1
if [ "${1:-}" = --step ]; then
    step=$2
fi
cmake -S . -B "$build" -G Ninja >/dev/null
cmake --build "$build" -j "${MOM_JOBS:-$(nproc)}" --target integration_test_memory | tail -n 1
MOM_MEMORY_STEP=$step "$build/tests/integration/test_memory"
