#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Does the simulator still find the deliberate bugs that it found before? At most 200 seeds for each of those in
# tests/sim/mutants-200.txt; one that is missed is a failure. The others are listed as `campaign`: the longer
# runs of tests/campaigns/mutants.sh are for them.
#
#   mutants.sh [DIR]      the folder of mom-sim-mutants (build/bin)
set -uo pipefail

cd "$(dirname "$0")/.." || exit 1
bin=${1:-build/bin}
list=tests/sim/mutants-200.txt
# Compiled otherwise, and with nothing switched on, it has to do exactly what mom-sim does.
if [ -x "$bin/mom-sim" ] && ! bash tests/sim/determinism.sh "$bin/mom-sim" "$bin/mom-sim-mutants"; then
    echo "FAILED: the same seed does not do the same in two builds"
    exit 1
fi
mapfile -t names < <(sed -E 's/#.*//; /^[[:space:]]*$/d' "$list" | awk '{ print $1 }')

table=$(MOM_BIN=$bin bash tests/campaigns/mutants.sh --limit 200 "${names[@]}")
echo "$table"
"$bin/mom-sim-mutants" --mutants | awk '{ print $2 }' | while IFS= read -r name; do
    grep -qE "^$name( |$)" "$list" || printf '%-28s %6s  %s\n' "$name" - campaign
done
missed=0
for name in "${names[@]}"; do
    if ! grep -qE "^$name +[0-9]+ " <<<"$table"; then
        echo "FAILED: mutant $name is not found within 200 seeds"
        missed=$((missed + 1))
    fi
done
echo "$((${#names[@]} - missed)) mutants found, $missed missed"
[ "$missed" -eq 0 ]
