#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The Python package in use without a pause: memory, descriptors and threads of the process must not grow.
# Ten minutes, or as many seconds as are said.
#
#   python-soak.sh [SECONDS]         MOM_LIBRARY or MOM_BUILD_DIR: the library
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
exec timeout $((${1:-600} * 2 + 60)) "${MOM_PYTHON:-python3}" -X dev -W error::ResourceWarning \
    "$root/bindings/python/tests/soak.py" "${1:-600}"
