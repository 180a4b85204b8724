#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# A seed decides everything: the trace hashes of a few seeds are the same in two builds of the simulator, or in
# two runs where there is one build only.
#
#   determinism.sh MOM-SIM [ANOTHER-MOM-SIM]
set -uo pipefail

one=$1
other=${2:-$1}
[ -x "$other" ] || other=$one
first=$("$one" --seeds 1-8 --hashes) || { echo "$first"; exit 1; }
second=$("$other" --seeds 1-8 --hashes) || { echo "$second"; exit 1; }
[ "$(wc -l <<<"$first")" -eq 8 ] || { echo "no hashes: $first"; exit 1; }
if [ "$first" != "$second" ]; then
    echo "the same seeds differ between $one and $other:"
    diff <(echo "$first") <(echo "$second")
    exit 1
fi
echo "8 seeds are the same in $one and $other"
