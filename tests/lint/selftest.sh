#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The checks catch what they are for: each is run on a small tree with one mistake in it.
#
#   selftest.sh [CC]
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cc=${1:-cc}
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
spdx='/* SPDX-License-Identifier: Apache-2.0 */'
failures=0
count=0

# put FILE LINE...: one file of the small tree, with the line that every file begins with.
put() {
    mkdir -p "$room/tree/$(dirname "$1")"
    { echo "$spdx"; printf '%s\n' "${@:2}"; } >"$room/tree/$1"
}

# expect good|bad WHAT COMMAND...: and starts a new tree.
expect() {
    local wanted=$1 what=$2 got=good
    shift 2
    "$@" >"$room/out" 2>&1 || got=bad
    count=$((count + 1))
    if [ "$got" != "$wanted" ]; then
        echo "selftest: $what: should be $wanted, was called $got"
        cat "$room/out"
        failures=$((failures + 1))
    fi
    rm -rf "$room/tree"
    mkdir "$room/tree"
}
layers() { python3 "$here/layers.py" "$room/tree"; }
banned() { python3 "$here/banned.py" "$room/tree"; }
purity() {
    mkdir -p "$room/tree/core"
    "$cc" -c -fPIC "$room/tree/x.c" -o "$room/tree/core/x.c.o" &&
        echo "$room/tree/core/x.c.o" >"$room/objects" && bash "$here/purity.sh" "$room/objects"
}
headers() { bash "$here/headers.sh" "$room/tree" "$cc"; }
exports() {
    cp "$here/exports.sh" "$room/exports.sh"
    echo mom_one >"$room/exports.txt"
    "$cc" -shared -fPIC "$room/tree/x.c" -o "$room/x.so" && bash "$room/exports.sh" "$room/x.so"
}

mkdir "$room/tree"
put lib/core/a.c '#include "base/b.h"' '#include <string.h>'
put lib/base/b.h
expect good "core on base" layers
put lib/base/b.c '#include "core/a.h"'
put lib/core/a.h
expect bad "base on core" layers
put lib/core/a.c '#include <time.h>'
expect bad "a clock in core" layers
put lib/core/a.c '#include "wire/w.h"'
put lib/wire/w.h '#include "wire/w.pb-c.h"'
expect bad "protobuf-c in core by way of a header" layers
put lib/node/n.c '#include <nng/nng.h>'
expect bad "nng in node" layers
put lib/port/p.c '#include <nng/nng.h>' '#include <rocksdb/c.h>'
expect bad "two outside libraries in one file" layers
put lib/api/a.c '#include "core/core_internal.h"'
put lib/core/core_internal.h
expect bad "the inside of core in api" layers

put lib/core/a.c '/* sprintf(x) */ static const char *text = "free(x)";'
expect good "banned words in comments and strings" banned
put lib/core/a.c 'void f(void) { free(0); }'
expect bad "free outside of base/mem.c" banned
put tests/a.c 'void f(void) { sleep (1); }'
expect bad "sleep in a test" banned
put lib/core/a.c 'void f(char *a) { strcpy(a, "x"); }'
expect bad "strcpy" banned
mkdir -p "$room/tree/lib" && echo 'int a;' >"$room/tree/lib/a.c"
expect bad "no SPDX line" banned
put lib/a.c "/* /ro""ot/x */"
expect bad "a path of one machine" banned

put x.c '#include <string.h>' 'int f(const char *a, const char *b);' \
    'int f(const char *a, const char *b) { return memcmp(a, b, 3); }'
expect good "memcmp in core" purity
put x.c '#include <time.h>' 'time_t f(void);' 'time_t f(void) { return time(0); }'
expect bad "a clock in an object of core" purity

put include/mom/x.h '#include <stdint.h>' 'int mom_x(uint32_t a);'
expect good "a plain header" headers
put include/mom/x.h 'int mom_x(uint32_t a);'
expect bad "a header that lacks an include" headers
put include/mom/x.h 'int mom_x(int class);'
expect bad "a header that C++ refuses" headers

put x.c 'int mom_one(void);' 'int mom_one(void) { return 1; }'
expect good "the list as it is" exports
put x.c 'int mom_one(void);' 'int mom_one(void) { return 1; }' 'int mom_two;'
expect bad "one name too many" exports
put x.c 'int mom_two;'
expect bad "one name gone" exports

echo "selftest: $count trees, $failures failures"
[ "$failures" -eq 0 ]
