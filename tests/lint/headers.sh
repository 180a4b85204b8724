#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Each public header compiles alone as strict C99 and as C++.
#
#   headers.sh ROOT [CC]
set -euo pipefail

root=$1
cc=${2:-cc}
failures=0
count=0
for header in "$root"/include/mom/*.h; do
    name=mom/$(basename "$header")
    count=$((count + 1))
    for language in "c -std=c99" "c++ -std=c++11"; do
        # shellcheck disable=SC2086 # two words on purpose
        if ! printf '#include <%s>\nint main(void) { return 0; }\n' "$name" | "$cc" -x $language -pedantic -Wall -Wextra -Werror \
            -I "$root/include" -fsyntax-only -; then
            echo "$name does not compile alone as $language"
            failures=$((failures + 1))
        fi
    done
done
echo "headers: $count headers, $failures failures"
[ "$count" -gt 0 ] && [ "$failures" -eq 0 ]
