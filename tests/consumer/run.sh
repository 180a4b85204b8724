#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Installs a build into a prefix of its own, then builds and runs a consumer against it in
# every supported way: CMake and pkg-config, shared and static.
#
#   run.sh BUILD-DIR
set -euo pipefail

build=$(cd "$1" && pwd)
source=$(cd "$(dirname "$0")" && pwd)
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT

cmake --install "$build" --prefix "$room/prefix" >"$room/install.log"
libdir=$(dirname "$(find "$room/prefix" -name 'libmom.so' | head -n 1)")

expect() {
    local how=$1 program=$2 out
    out=$(LD_LIBRARY_PATH="$libdir" "$program")
    if [ "$out" != "NOT_FOUND: no such thing" ]; then
        echo "consumer, $how: printed '$out'"
        exit 1
    fi
    echo "consumer, $how: ok"
}

cp "$source/CMakeLists.txt" "$source/consumer.c" "$room/"
generator=$(sed -n 's/^CMAKE_GENERATOR:INTERNAL=//p' "$build/CMakeCache.txt") # one that is there
cmake -S "$room" -B "$room/build" -G "$generator" -DCMAKE_PREFIX_PATH="$room/prefix" >"$room/configure.log"
cmake --build "$room/build" >"$room/build.log" || { cat "$room/build.log"; exit 1; }
expect "CMake, shared" "$room/build/consumer_shared"
expect "CMake, static" "$room/build/consumer_static"

export PKG_CONFIG_PATH=$libdir/pkgconfig
read -ra flags < <(pkg-config --cflags --libs mom)
"${CC:-cc}" "$room/consumer.c" "${flags[@]}" -o "$room/pkg_shared"
expect "pkg-config, shared" "$room/pkg_shared"

read -ra cflags < <(pkg-config --cflags mom)
read -ra libs < <(pkg-config --libs --static mom)
"${CC:-cc}" "$room/consumer.c" "${cflags[@]}" "${libs[@]/#-lmom/-l:libmom.a}" \
    -o "$room/pkg_static"
expect "pkg-config, static" "$room/pkg_static"

if [ -x "$room/prefix/bin/mom" ]; then
    # By its own run path, without help.
    "$room/prefix/bin/mom" --version
fi
