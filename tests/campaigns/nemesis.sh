#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs tests/nemesis.sh with one seed after the other, and adds up the tables.
#
#   nemesis.sh [--runs N] [--seconds N] [--first SEED] [--results DIR]      10 runs of 300 seconds from seed 100
#
# Each run prints its table; the last table has the worst of all runs. A run that fails keeps its histories and
# logs and says where. MOM_BIN is the folder of the program mom; without it the tree is built first.
set -uo pipefail

runs=10
seconds=300
first=100
results=
while [ $# -gt 1 ]; do
    case $1 in
    --runs) runs=$2 ;;
    --seconds) seconds=$2 ;;
    --first) first=$2 ;;
    --results) results=$2 ;;
    *) echo "unknown option $1" >&2; exit 2 ;;
    esac
    shift 2
done

tests=$(cd "$(dirname "$0")/.." && pwd)
if [ -z "${results:-}" ]; then
    results=$(mktemp -d)
    trap 'rm -rf "$results"' EXIT
fi
mkdir -p "$results"
trap 'kill -TERM "$child" 2>/dev/null; wait "$child"; exit 130' INT TERM

failed=()
for ((seed = first; seed < first + runs; seed++)); do
    rm -f "$results/$seed.json"
    bash "$tests/nemesis.sh" --seconds "$seconds" --seed "$seed" --quiet --result "$results/$seed.json" &
    child=$!
    wait $child || failed+=("$seed")
    echo
done
python3 -B "$tests/nemesis/summary.py" "$results"/*.json
for seed in "${failed[@]}"; do
    echo "failed: seed $seed; repeat: tests/nemesis.sh --seconds $seconds --seed $seed"
done
echo "$((runs - ${#failed[@]})) of $runs runs without a violation"
[ ${#failed[@]} -eq 0 ]
