#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# What the README shows works: its C program is built against libmom.so and run, its shell lines are run.
# MOM_BIN: the folder of mom, MOM_LIB: that of libmom.so, MOM_CC: the compiler, MOM_SANITIZE: how both were built.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT

# block LANGUAGE INDEX: the index-th block of this language in the README.
block() {
    awk -v fence="\`\`\`$1" -v index_wanted="$2" '
        $0 == fence { count++; inside = count == index_wanted; next }
        $0 == "```" { inside = 0 }
        inside' "$root/README.md"
}

block c 1 >"$room/hello.c"
[ -s "$room/hello.c" ] || { echo "the README shows no C program"; exit 1; }
flags=(-std=c99 -Wall -Wextra -Werror -pedantic)
[ -z "${MOM_SANITIZE:-}" ] || flags+=("-fsanitize=$MOM_SANITIZE")
"${MOM_CC:-cc}" "${flags[@]}" -I "$root/include" "$room/hello.c" -o "$room/hello" -L "$MOM_LIB" -lmom \
    -Wl,-rpath,"$MOM_LIB"
cd "$room"
printed=$(./hello)
[ "$printed" = hello ] || { echo "the program of the README printed '$printed'"; exit 1; }
echo "C program: ok"

# The first minute at a shell. Lines beginning with $ are run, the others are what they print.
mkdir shell
cd shell
PATH=$MOM_BIN:$PATH
block console 1 >../console
[ -s ../console ] || { echo "the README shows no shell"; exit 1; }
sed -n 's/^\$ //p' ../console >../commands
grep -v '^\$ ' ../console >../expected || true
bash -euo pipefail ../commands >../printed
diff ../expected ../printed
echo "shell: ok"
