#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The names that libmom.so exports are those of the checked-in list, no more and no fewer.
#
#   exports.sh LIBMOM.SO [NM]             compares
#   exports.sh --update LIBMOM.SO [NM]    writes the list anew
set -euo pipefail

list=$(dirname "$0")/exports.txt
update=no
if [ "$1" = --update ]; then
    update=yes
    shift
fi
library=$1
nm=${2:-nm}

exported=$("$nm" -D --defined-only "$library" | awk '{print $NF}' | sed 's/@.*//' | LC_ALL=C sort -u)
if [ "$update" = yes ]; then
    echo "$exported" >"$list"
    exit 0
fi
stray=$(echo "$exported" | grep -v '^mom_' || true)
if [ -n "$stray" ]; then
    echo "exported without the prefix mom_:" $stray
    exit 1
fi
if ! diff -u "$list" <(echo "$exported"); then
    echo "exports: the list differs from the library (+ exported, - missing); if that is meant:" \
        "bash tests/lint/exports.sh --update LIBMOM.SO"
    exit 1
fi
echo "exports: $(wc -l <"$list") names"
