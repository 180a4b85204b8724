#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs the tests of the package with a Python that has pytest: that of the system first, since another one
# that comes first in PATH need not have it.
#
#   MOM_LIBRARY=BUILD/lib/libmom.so MOM_BIN=BUILD/bin run.sh [ARGUMENTS OF PYTEST...]
#
# MOM_SANITIZE=address,...: how the library was built; its runtime is preloaded, and the tests that start
# programs of their own without it are left out.
set -euo pipefail

cd "$(dirname "$0")/.."
python=
for candidate in "${MOM_PYTHON:-/usr/bin/python3}" python3; do
    if command -v "$candidate" >/dev/null && "$candidate" -c 'import pytest' 2>/dev/null; then
        python=$candidate
        break
    fi
done
[ -n "$python" ] || { echo "no Python with pytest: apt-get install python3-pytest" >&2; exit 1; }

export PYTHONDONTWRITEBYTECODE=1
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
pytest=("$python" -X dev -m pytest -q --basetemp "$room/t")
if [ -z "${MOM_SANITIZE:-}" ]; then
    "${pytest[@]}" "$@"
    exit
fi
cc=${MOM_CC:-cc}
preload=$("$cc" -print-file-name=libasan.so)
# Exceptions of C++ are intercepted: the C++ library has to be there when the runtime starts.
preload+=:$("$cc" -print-file-name=libstdc++.so.6)
# The interpreter itself leaves memory behind at its end; what the library leaks the tests in C see.
export ASAN_OPTIONS=abort_on_error=1:detect_leaks=0
export PYTHONMALLOC=malloc
LD_PRELOAD=$preload "${pytest[@]}" "$@" tests/test_messages.py tests/test_node.py tests/test_aio.py \
    tests/test_lifetime.py
