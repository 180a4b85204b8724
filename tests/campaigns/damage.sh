#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Damages files of real stores, and judges what their nodes and meshes make of it.
#
#   damage.sh [--count N] [--seed S] [--jobs N]
#
# Of the N cases (20000), one in 40 reopens a mesh with one damaged copy, one in 400 a mesh with every copy
# damaged, one in 200 makes a disk fail under a running mesh; the others open one damaged directory.
# The table says what came of each place and kind.
# MOM_BIN is the folder of mom-damage; without it the tree is built first.
set -uo pipefail

count=20000
seed=$((10#$(date +%j%H%M)))
jobs=1
while [ $# -gt 1 ]; do
    case $1 in
    --count) count=$2 ;;
    --seed) seed=$2 ;;
    --jobs) jobs=$2 ;;
    *) echo "unknown option $1" >&2; exit 2 ;;
    esac
    shift 2
done

cd "$(dirname "$0")/../.." || exit 1
if [ -z "${MOM_BIN:-}" ]; then
    cmake -S . -B build -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo >/dev/null &&
        cmake --build build --target mom-damage >/dev/null || exit 1
    MOM_BIN=build/bin
fi
mesh=$((count / 40))
all=$((count / 400))
io=$((count / 200))
exec "$MOM_BIN/mom-damage" --seed "$seed" --jobs "$jobs" \
    --store $((count - mesh - all - io)) --mesh "$mesh" --all "$all" --io "$io"
