#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# All C files are as clang-format writes them. Skipped (77) where there is no clang-format.
#
#   format.sh ROOT [--fix]
set -euo pipefail

cd "$1"
command -v clang-format >/dev/null || exit 77
mapfile -t files < <(find lib include examples tests -name '*.[ch]' | LC_ALL=C sort)
if [ "${2:-}" = --fix ]; then
    exec clang-format -i "${files[@]}"
fi
wrong=$(clang-format --dry-run "${files[@]}" 2>&1 |
    sed -n 's/^\([^:]*\):.*clang-formatted.*/\1/p' | LC_ALL=C sort -u)
if [ -n "$wrong" ]; then
    echo "$wrong"
    echo "format: repair with: bash tests/lint/format.sh . --fix"
    exit 1
fi
echo "format: ${#files[@]} files"
