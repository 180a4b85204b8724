#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Long tests that are run by hand or by night, one script each in tests/campaigns.
#
#   tests/campaign.sh              lists them
#   tests/campaign.sh NAME ARG...  runs one
set -euo pipefail

cd "$(dirname "$0")/.."
if [ $# -eq 0 ]; then
    for script in tests/campaigns/*.sh; do
        [ -e "$script" ] || continue
        # The first sentence of its comment says what it does.
        printf '%-16s %s\n' "$(basename "$script" .sh)" \
            "$(sed -n '/^# [A-Z]/{/SPDX/!{s/^# //p;q}}' "$script")"
    done
    exit 0
fi
script=tests/campaigns/$1.sh
if [ ! -f "$script" ]; then
    echo "there is no campaign $1; tests/campaign.sh lists them" >&2
    exit 1
fi
shift
exec bash "$script" "$@"
