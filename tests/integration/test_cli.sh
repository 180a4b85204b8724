#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The program mom as a user meets it: first minute, exit status of each class, limits, formats of input and
# output, JSON, and a mesh of three processes. MOM_BIN is the folder of the program.
set -uo pipefail

cd "$(dirname "$0")/.." || exit 1
# shellcheck source=tests/mesh.sh
source ./mesh.sh

checks=0
failures=0
out=$room/out
err=$room/err

fail() {
    failures=$((failures + 1))
    echo "FAILED: $*"
}

# expect STATUS ARG...: runs mom; its output is in $out and $err.
expect() {
    local wanted=$1 status=0
    shift
    checks=$((checks + 1))
    timeout 60 "$mom" "$@" >"$out" 2>"$err" || status=$?
    if [ "$status" -ne "$wanted" ]; then
        fail "mom $(printf '%.60s ' "$@"): exit $status, expected $wanted"
        head -c 600 "$err"
        return 1
    fi
}

# says TEXT: the last error said so.
says() {
    checks=$((checks + 1))
    grep -qF -- "$1" "$err" || { fail "no '$1' in: $(head -c 300 "$err")"; return 1; }
}

# prints TEXT: the last output was exactly this.
prints() {
    checks=$((checks + 1))
    printf '%s' "$1" | cmp -s - "$out" || { fail "printed '$(head -c 200 "$out")', expected '$1'"; return 1; }
}

# is_json [FILE]: each of its lines is JSON.
is_json() {
    local file=${1:-$out} line
    checks=$((checks + 1))
    [ -s "$file" ] || fail "no JSON in $file"
    while IFS= read -r line; do
        python3 -m json.tool <<<"$line" >"$room/json" 2>&1 ||
            fail "not JSON: ${line:0:200}"
    done <"$file"
}

same() {
    checks=$((checks + 1))
    cmp "$1" "$2" || fail "$3"
}

test_usage() {
    expect 0 help && grep -q 'mom --data d send' "$out" || fail "help shows no example"
    for absent in tail serve drain forget recover adopt metrics request; do
        expect 2 "$absent" x && says "unknown command $absent"
        grep -qE "^  $absent " "$out" && fail "$absent in help"
    done
    expect 0 help send
    expect 0 send --help
    expect 0 --version && grep -qE '^mom [0-9]+\.[0-9]+\.[0-9]+$' "$out" || fail "version"
    expect 2
    expect 2 queue
    expect 2 queue frobnicate q && says 'unknown command queue frobnicate'
    expect 2 send && says 'usage: mom send'
    expect 2 send q a b
    expect 2 send q --frobnicate && says 'unknown option'
    expect 2 send q --count 3 && says 'not an option of this command'
    expect 2 receive q --count 0
    expect 2 receive q --count 1x
    expect 2 receive q --wait soon
    expect 2 receive q -0 --raw
    expect 2 send q a --timeout 0
    expect 2 send q a --timeout nan
    expect 2 send q a --data d --peer tcp://127.0.0.1:1
    expect 2 subscribe t --from yesterday
    expect 2 node --data "$room/x" --copies 10
    expect 2 node
    expect 2 send --json && is_json "$err"
}

# Without any node running.
test_alone() {
    local d=$room/alone
    expect 4 --data "$d" send greetings hello && says 'mom queue create greetings'
    expect 0 --data "$d" send greetings hello --create && prints ''
    expect 0 --data "$d" receive greetings --count 1 && prints $'hello\n'
    expect 3 --data "$d" receive greetings --wait 0 && prints ''
    expect 3 --data "$d" receive greetings --count 2 --wait 0.2
    expect 0 --data "$d" send greetings one
    expect 13 --data "$d" receive greetings --count 2 --wait 0.2 && prints $'one\n'
    expect 4 --data "$d" receive nowhere --count 1 && says 'mom --data'
    expect 5 --data "$d" queue create greetings
    expect 0 --data "$d" queue create greetings --if-missing
    expect 10 --data "$d" queue create greetings --if-missing --set lease_ms=5000
    expect 2 --data "$d" queue create other --set nonsense=1
    expect 2 --data "$d" queue create other --set nonsense
    expect 0 --data "$d" queue create small --set messages_max=2
    expect 0 --data "$d" send small one
    expect 0 --data "$d" send small two
    expect 11 --data "$d" send small three && says FULL
    expect 0 --data "$d" queue purge small
    expect 3 --data "$d" receive small --wait 0
    expect 0 --data "$d" queue list && prints $'greetings\nsmall\n'
    expect 0 --data "$d" queue delete small
    expect 4 --data "$d" queue delete small
    expect 4 --data "$d" queue info small
    # The same name as a queue.
    expect 4 --data "$d" publish greetings hello
    expect 0 --data "$d" topic create greetings
    expect 8 --data "$d" subscription info greetings nobody
    expect 8 --data "$d" subscription delete greetings nobody
    expect 4 --data "$d" subscription create nowhere me
    expect 0 --data "$d" subscription create greetings me --filter 'a.*'
    expect 5 --data "$d" subscription create greetings me --filter 'a.*'
    expect 10 --data "$d" subscribe greetings --as me --filter 'b.*' --wait 0
    expect 0 --data "$d" publish greetings first --key a.x
    expect 0 --data "$d" publish greetings second --key b.x
    expect 0 --data "$d" subscribe greetings --as me --filter 'a.*' --wait 0 && prints $'first\n'
    expect 3 --data "$d" subscribe greetings --as me --wait 0
    expect 0 --data "$d" subscribe greetings --from first --count 2 && prints $'first\nsecond\n'
    expect 3 --data "$d" subscribe greetings --wait 0
    expect 0 --data "$d" subscription list greetings && prints $'me\n'
}

test_limits() {
    local d=$room/alone name
    name=$(printf 'n%.0s' {1..255})
    expect 0 --data "$d" queue create "$name"
    expect 0 --data "$d" queue delete "$name"
    expect 2 --data "$d" queue create "${name}n"
    expect 2 --data "$d" queue create ''
    expect 2 --data "$d" queue create $'a\nb'
    expect 2 --data "$d" queue create $'\xff'
    expect 0 --data "$d" queue create 'Grüße / {a}'
    expect 0 --data "$d" send 'Grüße / {a}' ''
    expect 0 --data "$d" receive 'Grüße / {a}' --count 1 && prints $'\n'
    head -c 8388608 /dev/urandom >"$room/big"
    expect 0 --data "$d" send greetings --raw --file "$room/big"
    expect 0 --data "$d" receive greetings --count 1 --raw && same "$out" "$room/big" "8 MiB"
    printf x >>"$room/big"
    expect 9 --data "$d" send greetings --raw --file "$room/big" && says 'message 1 is larger'
    expect 3 --data "$d" receive greetings --wait 0
    expect 2 --data "$d" topic create greetings2 --set retention_ms=abc
    expect 9 --data "$d" publish greetings x --key "${name}n"
}

test_formats() {
    local d=$room/alone
    printf 'a\n\nb\r\nlast' >"$room/lines"
    expect 0 --data "$d" send greetings --file "$room/lines"
    expect 0 --data "$d" receive greetings --count 4 && prints $'a\n\nb\r\nlast\n'
    printf 'a\0b\nc\0\0' >"$room/zeros"
    expect 0 --data "$d" send greetings -0 <"$room/zeros"
    expect 0 --data "$d" receive greetings --count 3 -0 --output "$room/zeros.got"
    same "$room/zeros" "$room/zeros.got" "zero-separated"
    expect 0 --data "$d" send greetings --raw <"$room/zeros"
    expect 0 --data "$d" receive greetings --count 1 --raw && same "$out" "$room/zeros" raw
    expect 0 --data "$d" send greetings --raw </dev/null
    expect 0 --data "$d" receive greetings --count 1 && prints $'\n'
    expect 0 --data "$d" send greetings </dev/null
    expect 3 --data "$d" receive greetings --wait 0
    expect 1 --data "$d" send greetings --file "$room/missing" && says 'cannot read'
    expect 0 --data "$d" send greetings -- --text
    # What could not be written was not acknowledged.
    expect 1 --data "$d" receive greetings --count 1 --output /dev/full && says 'not acknowledged'
    expect 1 --data "$d" receive greetings --count 1 --output "$room/no/such/folder"
    expect 0 --data "$d" receive greetings --count 1 && prints $'--text\n'
    # --count takes no more than that.
    expect 0 --data "$d" send greetings < <(seq 1 100)
    expect 0 --data "$d" receive greetings --count 10 && prints "$(seq 1 10)"$'\n'
    expect 0 --data "$d" receive greetings --count 90 && prints "$(seq 11 100)"$'\n'
}

test_json() {
    local d=$room/alone
    expect 0 --data "$d" --json send greetings 'quote " backslash \ tab	' && is_json
    expect 0 --data "$d" --json send greetings --file "$room/lines" && is_json
    expect 0 --data "$d" send greetings $'\xff\x01' --header 'a=b "c"'
    expect 0 --data "$d" --json queue info greetings && is_json
    expect 0 --data "$d" --json receive greetings --count 6 && is_json
    grep -q '"body_base64":"/wE="' "$out" || fail "bytes that are no text"
    grep -q '"value":"b \\"c\\""' "$out" || fail "headers"
    expect 0 --data "$d" --json queue list && is_json
    expect 0 --data "$d" --json status && is_json
    expect 0 --data "$d" --json topic info greetings && is_json
    expect 0 --data "$d" --json subscription info greetings me && is_json
    expect 0 --data "$d" --json queue create j && is_json
    expect 5 --data "$d" --json queue create j && is_json "$err"
    expect 3 --data "$d" --json receive j --wait 0 && is_json "$err"
    expect 0 --data "$d" --json bench --count 200 && is_json
    expect 0 --data "$d" status
    expect 0 --data "$d" queue info greetings
    expect 0 --json bench publish --memory --count 200 && is_json
}

test_unreachable() {
    expect 12 --peer ipc://"$room/nobody" --timeout 1 status && says 'mom node'
    expect 12 --peer tcp://127.0.0.1:1 --timeout 1 send q hello
    expect 2 --peer nonsense status
    printf x >"$room/file"
    local status=0
    timeout 20 "$mom" --data "$room/file" queue list >"$out" 2>"$err" || status=$?
    checks=$((checks + 1))
    case $status in
    2 | 10 | 16 | 17) ;;
    *) fail "a file as directory: exit $status" ;;
    esac
}

# One receiver holds what it was told to take and cannot write it yet; the rest is there for another.
two_receivers() {
    local i status=0 receiver
    expect 0 queue create shared --set lease_ms=600000 # longer than any of this takes
    for i in {1..10}; do
        head -c 100000 /dev/zero | tr '\0' x
        echo " $i"
    done >"$room/large"
    expect 0 send shared --file "$room/large"
    mkfifo "$room/fifo"
    exec 9<>"$room/fifo"
    timeout 250 "$mom" receive shared --count 3 --output "$room/fifo" 2>"$room/first.err" &
    receiver=$!
    background+=("$receiver")
    for i in {1..200}; do
        "$mom" --json queue info shared >"$out" 2>"$err"
        grep -q '"messages_leased":3' "$out" && break
    done
    grep -q '"messages_leased":3' "$out" || fail "the first receiver has not got three: $(cat "$out")"
    expect 0 --json receive shared --count 7 --wait 10
    grep -q '"redelivered":true' "$out" && fail "the rest is marked as redelivered"
    timeout 100 head -n 3 <&9 >"$room/first" || fail "the first receiver writes nothing"
    wait $receiver || status=$?
    background=()
    exec 9>&-
    [ $status -eq 0 ] || fail "the first receiver: exit $status: $(head -c 300 "$room/first.err")"
    cmp "$room/first" <(head -n 3 "$room/large") || fail "the first receiver got others than the first three"
    expect 3 receive shared --wait 0
}

# Three processes, one of them killed in the middle of a stream.
test_mesh() {
    mesh_form 3 || { fail "the mesh was not formed"; return; }
    local all leader other lines=20000 status=0
    all=$(peers)
    export MOM_PEER=$all
    expect 0 status && grep -q '3 nodes' "$out" || fail "status does not show 3 nodes"
    expect 0 --json status && is_json
    expect 10 --data "$room/a" queue list && says a
    two_receivers
    expect 0 queue create lines
    leader=$(leader_of lines)
    [ -n "${node_pid[$leader]:-}" ] || { fail "no leader: '$leader'"; return; }
    for other in a b c; do
        [ "$other" = "$leader" ] || break
    done
    seq -f 'line %.0f of the stream' $lines >"$room/in"
    timeout 100 "$mom" --peer "${node_address[$other]}" receive lines --count $lines --wait 60 \
        >"$room/got" 2>"$room/receive.err" &
    local receiver=$!
    background+=("$receiver")
    { head -n 7000 "$room/in"; node_kill "$leader"; tail -n +7001 "$room/in"; } |
        timeout 100 "$mom" --timeout 60 send lines 2>"$room/send.err" || status=$?
    # The pipe's first part ran in a shell of its own.
    wait "${node_pid[$leader]}" 2>/dev/null
    unset "node_pid[$leader]"
    [ $status -eq 0 ] || fail "send: exit $status: $(head -c 300 "$room/send.err")"
    status=0
    wait $receiver || status=$?
    background=()
    [ $status -eq 0 ] || fail "receive: exit $status: $(head -c 300 "$room/receive.err")"
    same "$room/in" "$room/got" "what was received is not what was sent"
    expect 3 receive lines --wait 0
    node_restart "$leader" || fail "the killed node does not come back"
    # A temporary subscription, and SIGTERM to its program.
    expect 0 topic create news
    expect 0 subscription create news reader
    expect 0 publish news hello --key a.b --create
    expect 0 subscribe news --as reader --count 1 && prints $'hello\n'
    for other in a b c; do
        status=0
        node_stop $other || status=$?
        [ $status -eq 0 ] || fail "node $other ended with $status"
    done
    unset MOM_PEER
}

for group in usage alone limits formats json unreachable mesh; do
    before=$failures
    started=$SECONDS
    "test_$group"
    echo "$group: $((failures - before)) failures, $((SECONDS - started)) s"
done
[ $failures -eq 0 ] || mesh_logs
echo "$checks checks, $failures failures"
[ $failures -eq 0 ]
