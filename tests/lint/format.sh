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
if ! clang-format --dry-run --Werror "${files[@]}"; then
    echo "format: repair with: bash tests/lint/format.sh . --fix"
    exit 1
fi
echo "format: ${#files[@]} files"
