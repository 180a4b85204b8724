#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Opens and closes nodes, clients and consumers hundreds of times under load, with ASan and with TSan.
#
#   tests/campaign.sh storm [--rounds N] [--sanitizer address,undefined|thread|none]
#
# --rounds: restarts of a store, default 300. Default: both sanitizers, one after the other.
set -euo pipefail

cd "$(dirname "$0")/../.."
rounds=300
sanitizers=(address,undefined thread)
while [ $# -gt 0 ]; do
    case $1 in
    --rounds) rounds=$2 && shift 2 ;;
    --sanitizer) sanitizers=("$2") && shift 2 ;;
    *) echo "usage: storm [--rounds N] [--sanitizer NAME]" >&2 && exit 2 ;;
    esac
done
for sanitizer in "${sanitizers[@]}"; do
    case $sanitizer in
    none) build=build-storm option="" ;;
    thread) build=build-tsan option=thread ;;
    *) build=build-asan option=$sanitizer ;;
    esac
    cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DMOM_SANITIZE="$option" >/dev/null
    cmake --build "$build" -j "${MOM_JOBS:-$(nproc)}" --target integration_test_storm integration_test_close |
        tail -n 1
    echo "== $sanitizer"
    for test in storm close; do
        MOM_STORM_ROUNDS=$rounds ASAN_OPTIONS=abort_on_error=1:detect_stack_use_after_return=1 \
            LSAN_OPTIONS=suppressions=tests/lsan.supp:print_suppressions=0 \
            TSAN_OPTIONS=suppressions=tests/tsan.supp:halt_on_error=1:second_deadlock_stack=1 \
            "$build/tests/integration/test_$test"
    done
done
