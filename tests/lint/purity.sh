#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The objects of base and core refer to nothing that does I/O, reads a clock or starts a thread.
#
#   purity.sh FILE-WITH-OBJECT-NAMES [NM]
set -euo pipefail

objects=$1
nm=${2:-nm}

# Memory and string functions, our own, and what the compiler itself refers to.
common='memcpy|memset|memmove|memcmp|memchr|strlen|__(memcpy|memset|memmove)_chk'
common+='|momi_.*|mom_.*|_GLOBAL_OFFSET_TABLE_|__stack_chk_fail'

failures=0
count=0
while IFS= read -r object; do
    [ -n "$object" ] || continue
    allowed=$common
    case $object in
    */base/mem.c.o) allowed+='|malloc|realloc|free|__tls_get_addr' ;;
    */base/assert.c.o) allowed+='|abort|fprintf|__fprintf_chk|stderr' ;;
    */base/err.c.o) allowed+='|vsnprintf|__vsnprintf_chk|__tls_get_addr' ;;
    */base/crc.c.o) allowed+='|__cpu_model|__cpu_indicator_init' ;;
    esac
    count=$((count + 1))
    foreign=$("$nm" -u "$object" | awk '{print $NF}' | grep -Ev "^($allowed)$" || true)
    if [ -n "$foreign" ]; then
        failures=$((failures + 1))
        echo "$(basename "$object") refers to: $(echo "$foreign" | tr '\n' ' ')"
    fi
done <"$objects"
echo "purity: $count objects, $failures failures"
[ "$count" -gt 0 ] && [ "$failures" -eq 0 ]
