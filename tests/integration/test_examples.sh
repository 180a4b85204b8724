#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Every example program runs to its end and says what it promises.
#
#   MOM_BIN=BUILD/bin test_examples.sh
set -euo pipefail

: "${MOM_BIN:?where the programs were built}"
examples=$MOM_BIN/../examples
work=$(mktemp -d "${TMPDIR:-/tmp}/mom-ex-XXXXXX")
trap 'rm -rf "$work"' EXIT
limit="timeout 60"

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# expect TEXT COMMAND...: succeeds and prints TEXT.
expect() {
    local text=$1 output
    shift
    output=$($limit "$@" 2>&1) || fail "$* exits with $?: $output"
    grep -qF -- "$text" <<<"$output" || fail "$*: no '$text' in: $output"
    echo "ok: $(basename "$1"): $text"
}

expect "published 1001 messages" "$examples/publish" "$work/topic"
expect "received 1001 messages" "$examples/subscribe" "$work/topic"
expect "received 0 messages" "$examples/subscribe" "$work/topic"
expect "received 500 messages" "$examples/subscribe" "$work/topic" count.even
expect "published 11 messages" "$examples/publish" "$work/topic" 10
expect "count.odd: number 9" "$examples/subscribe" "$work/topic"
expect "received 5 messages" "$examples/subscribe" "$work/topic" count.even
expect "done 180, failed attempts 120, dead letters 20" "$examples/work_queue" "$work/jobs"
mkdir "$work/mesh"
expect "received all 200 messages in order" "$examples/three_nodes" "$work/mesh"
expect "sent 5000, received 5000" "$examples/event_loop" "$work/loop"
