#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Kills leaders, and whole meshes, under a stream of lines; compares what came out byte for byte.
#
#   leader-kill.sh [--runs N] [--lines N] [--seed N]      20 runs of 200000 lines
#
# Each run has three parts on a mesh of three processes that lives through all runs:
#   leader  the process that leads the queue's shard gets SIGKILL while `mom send` sends; `mom receive` runs on
#           another node, from the start or afterwards
#   all     everything is sent, a part received; then all three get SIGKILL at once and are started again in
#           another order: the rest is there, what was received is not
#   flight  all three get SIGKILL while `mom send` sends, and come back; the sender is still there
# MOM_BIN is the folder of the program mom; without it the tree is built first.
set -uo pipefail

runs=20
lines=200000
seed=$RANDOM
while [ $# -gt 1 ]; do
    case $1 in
    --runs) runs=$2 ;;
    --lines) lines=$2 ;;
    --seed) seed=$2 ;;
    *) echo "unknown option $1" >&2; exit 2 ;;
    esac
    shift 2
done
RANDOM=$seed
export LC_ALL=C

cd "$(dirname "$0")/.." || exit 1
if [ -z "${MOM_BIN:-}" ]; then
    bash install-deps.sh && cmake -S .. -B ../build -G Ninja >/dev/null &&
        cmake --build ../build --target mom >/dev/null || exit 1
    MOM_BIN=$(cd ../build/bin && pwd)
fi
# shellcheck source=tests/mesh.sh
source ./mesh.sh

rows=()
failures=0
SEND_SECONDS=120
orders=("b c a" "c a b" "c b a" "a c b" "b a c" "a b c")

now_ms() { date +%s%3N; }
random_below() { echo $(((RANDOM * 32768 + RANDOM) % $1)); }

# row RUN PART KILLED AT-LINE RESULT MS NOTE
row() {
    rows+=("$(printf '%4s  %-7s %-7s %9s  %-5s %8s  %s' "$@")")
    echo "${rows[-1]}"
    if [ "$5" != same ]; then
        failures=$((failures + 1))
        mesh_logs
    fi
}

compare() { cmp -s "$1" "$2" && echo same || echo DIFF; }

other_than() {
    local name
    for name in a b c; do
        [ "$name" != "$1" ] && echo "$name" && return
    done
}

# counts FILE: what is missing and what is there twice.
counts() {
    local lost doubled
    lost=$(comm -23 <(sort -u "$room/in") <(sort -u "$1") | wc -l)
    doubled=$(sort "$1" | uniq -d | wc -l)
    echo "received $(wc -l <"$1"), lost $lost, doubled $doubled"
}

receive() { # QUEUE COUNT FILE NODE
    timeout 300 "$mom" --peer "${node_address[$4]}" receive "$1" --count "$2" --wait 60 \
        --output "$3" 2>"$room/receive.log"
}

part_leader() {
    local run=$1 queue=leader-$1 leader other at status=0 receiver="" start
    "$mom" --peer "$(peers)" queue create "$queue" || return 1
    leader=$(leader_of "$queue")
    [ -n "${node_pid[$leader]:-}" ] || { echo "no leader: '$leader'" >&2; return 1; }
    other=$(other_than "$leader")
    at=$((1 + $(random_below $((lines - 1)))))
    start=$(now_ms)
    rm -f "$room/got"
    if ((run % 2 == 0)); then
        receive "$queue" "$lines" "$room/got" "$other" &
        receiver=$!
        background+=("$receiver")
    fi
    { head -n "$at" "$room/in"; kill -9 "${node_pid[$leader]}"; tail -n +$((at + 1)) "$room/in"; } |
        "$mom" --peer "$(peers "$leader")" --timeout $SEND_SECONDS send "$queue" \
            2>"$room/send.log" || status=$?
    wait "${node_pid[$leader]}" 2>/dev/null
    unset "node_pid[$leader]"
    if [ -n "$receiver" ]; then
        wait "$receiver"
        background=()
    else
        receive "$queue" "$lines" "$room/got" "$other"
    fi
    row "$run" leader "$leader" "$at" "$(compare "$room/in" "$room/got")" \
        $(($(now_ms) - start)) "send $status; $(counts "$room/got")"
    node_restart "$leader" && "$mom" --peer "$(peers)" queue delete "$queue"
}

part_all() {
    local run=$1 queue=all-$1 part start order
    "$mom" --peer "$(peers)" queue create "$queue" || return 1
    part=$((1 + $(random_below $((lines - 1)))))
    order=${orders[$((run % ${#orders[@]}))]}
    start=$(now_ms)
    rm -f "$room/got" "$room/rest"
    "$mom" --peer "$(peers)" --timeout $SEND_SECONDS send "$queue" --file "$room/in" \
        2>"$room/send.log" || return 1
    receive "$queue" "$part" "$room/got" a || return 1
    node_kill a b c
    # shellcheck disable=SC2086
    node_restart $order || return 1
    receive "$queue" $((lines - part)) "$room/rest" b
    cat "$room/rest" >>"$room/got"
    row "$run" all "${order// /}" "$part" "$(compare "$room/in" "$room/got")" \
        $(($(now_ms) - start)) "$(counts "$room/got")"
    "$mom" --peer "$(peers)" queue delete "$queue"
}

part_flight() {
    local run=$1 queue=flight-$1 at start order status=0 sender
    "$mom" --peer "$(peers)" queue create "$queue" || return 1
    at=$((1 + $(random_below $((lines - 1)))))
    order=${orders[$(((run + 3) % ${#orders[@]}))]}
    start=$(now_ms)
    rm -f "$room/got" "$room/go"
    mkfifo "$room/go"
    # The sender's input stops at line `at` until the mesh is dead.
    { head -n "$at" "$room/in"; echo >"$room/go"; tail -n +$((at + 1)) "$room/in"; } |
        "$mom" --peer "$(peers)" --timeout $SEND_SECONDS send "$queue" 2>"$room/send.log" &
    sender=$!
    background+=("$sender")
    read -r <"$room/go"
    node_kill a b c
    # shellcheck disable=SC2086
    node_restart $order || return 1
    wait "$sender" || status=$?
    background=()
    receive "$queue" "$lines" "$room/got" c
    row "$run" flight "${order// /}" "$at" "$(compare "$room/in" "$room/got")" \
        $(($(now_ms) - start)) "send $status; $(counts "$room/got")"
    "$mom" --peer "$(peers)" queue delete "$queue"
}

echo "leader-kill: $runs runs of $lines lines, seed $seed"
seq -f 'line %.0f of a text that has to arrive once, whole, and in order' "$lines" >"$room/in"
mesh_form 3 || exit 1
for ((run = 1; run <= runs; run++)); do
    for part in leader all flight; do
        if ! "part_$part" "$run"; then
            row "$run" "$part" - - FAIL - "the part did not get through"
            break 2
        fi
    done
done
echo
printf '%4s  %-7s %-7s %9s  %-5s %8s  %s\n' run part killed 'at line' text ms ''
printf '%s\n' "${rows[@]}"
echo "$((${#rows[@]} - failures)) of ${#rows[@]} the same, $failures not"
[ $failures -eq 0 ]
