#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The main job of libmom, before your eyes: three processes form a mesh; a text of more than 100,000 lines goes
# through a queue and a topic; half way the process that leads both gets SIGKILL, later it comes back. What
# arrives is compared byte for byte with what was sent.
#
#   examples/demo.sh [LINES]
#
# Installs what is missing (Debian 12, as root or with sudo), builds the program mom in build/ or MOM_BUILD_DIR.
# Ends everything it started, also when interrupted; takes at most a few minutes.
set -uo pipefail

cd "$(dirname "$0")/.." || exit 1
lines=${1:-120000}
build=${MOM_BUILD_DIR:-build}
export LC_ALL=C
SECONDS_MAX=180 # for each command
declare -A pid output address
helpers=()
room=$(mktemp -d)

finish() {
    local each
    for each in "${pid[@]}" "${helpers[@]}"; do
        kill -9 "$each" 2>/dev/null
    done
    wait 2>/dev/null
    rm -rf "$room"
}
trap finish EXIT
trap 'exit 130' INT TERM

say() { printf '\n== %s\n' "$*"; }
now_ms() { date +%s%3N; }
die() {
    echo "demo: $*" >&2
    tail -n 15 "$room"/*.log >&2
    exit 1
}

# start NAME ARG...: a node with a pipe as standard output, which we hold open to read its `ready` line from.
start() {
    local name=$1 fd=${output[$1]:-}
    shift
    if [ -z "$fd" ]; then
        mkfifo "$room/$name.out"
        exec {fd}<>"$room/$name.out"
        output[$name]=$fd
    fi
    "$mom" node --name "$name" "$@" >"$room/$name.out" 2>>"$room/$name.log" {fd}>&- &
    pid[$name]=$!
}

# ready NAME: waits for that line.
ready() {
    local word id mesh where
    IFS=' ' read -r -t 60 -u "${output[$1]}" word _ id mesh where || die "node $1 does not get ready"
    [ "$word" = ready ] || die "node $1 said $word"
    address[$1]=$where
    printf 'node %s: process %s, id %s, mesh %s, %s\n' "$1" "${pid[$1]}" "$id" "${mesh:0:8}" "$where"
}

# A text of the wanted length: the licences that every Debian has, with line numbers, again and again.
make_text() {
    local files=(/usr/share/common-licenses/*)
    if [ -r "${files[0]}" ]; then
        while cat "${files[@]}"; do :; done 2>/dev/null
    else
        yes 'The quick brown fox jumps over the lazy dog.'
    fi | head -n "$lines" | awk '{ printf "%07d %s\n", NR, $0 }'
}

# free_addresses: a node at port 0 tells which port it got.
free_addresses() {
    local name
    for name in a b c; do
        start "$name" --memory --listen tcp://127.0.0.1:0
    done
    for name in a b c; do
        ready "$name" >/dev/null
    done
    for name in a b c; do
        kill -9 "${pid[$name]}"
        wait "${pid[$name]}" 2>/dev/null
    done
}

field() { sed -n "s/.*\"$1\":\"\{0,1\}\([^,\"}]*\).*/\1/p" "$2"; }

# judge NAME FILE: compares with the text that was sent.
judge() {
    local lost doubled got verdict
    got=$(wc -l <"$2")
    lost=$(comm -23 "$room/sorted" <(sort -u "$2") | wc -l)
    doubled=$(sort "$2" | uniq -d | wc -l)
    verdict="byte for byte the same"
    cmp -s "$room/text" "$2" || verdict="NOT THE SAME"
    [ "$verdict" = "NOT THE SAME" ] && failed=1
    printf '%-6s %9s %13s %9s %6s %8s   %s\n' "$1" "$lines" "$(field acknowledged "$room/$1.sent")" "$got" \
        "$lost" "$doubled" "$verdict"
}

say "installing what is missing, and building"
bash tests/install-deps.sh || exit 1
if ! { cmake -S . -B "$build" -G Ninja && cmake --build "$build" --target mom; } >"$room/build.log" 2>&1; then
    die "the build failed"
fi
mom=$(cd "$build/bin" && pwd)/mom
"$mom" --version

say "a text of $lines lines"
make_text >"$room/text"
[ "$(wc -l <"$room/text")" -eq "$lines" ] || die "the text has not $lines lines"
sort "$room/text" >"$room/sorted"
printf '%s bytes; line %d: %s\n' "$(wc -c <"$room/text")" $((lines / 2)) "$(sed -n "$((lines / 2))p" "$room/text")"

say "three processes form a mesh, with three copies of everything"
free_addresses
form=a=${address[a]},b=${address[b]},c=${address[c]}
for name in a b c; do
    start "$name" --data "$room/$name" --listen "${address[$name]}" --form "$form"
done
for name in a b c; do
    ready "$name"
done
export MOM_PEER=${address[a]},${address[b]},${address[c]}

say "a queue and a topic; {demo} in their names puts them, and a probe, on one shard"
"$mom" queue create 'text{demo}' || die "queue create"
"$mom" queue create 'probe{demo}' || die "queue create"
"$mom" topic create 'news{demo}' || die "topic create"
"$mom" subscription create 'news{demo}' reader || die "subscription create"
"$mom" queue info 'text{demo}' --json >"$room/info" || die "queue info"
leader=$(field leader "$room/info")
[ -n "${pid[$leader]:-}" ] || die "nobody leads the shard"
for other in a b c; do
    [ "$other" != "$leader" ] && break
done
echo "node $leader leads it; the receivers work through node $other"

say "sending; at line $((lines / 2)) process ${pid[$leader]} of node $leader gets SIGKILL"
started=$(now_ms)
timeout $SECONDS_MAX "$mom" receive 'text{demo}' --peer "${address[$other]}" --count "$lines" --wait 60 \
    --output "$room/queue.got" 2>"$room/receive.log" &
helpers+=($!)
timeout $SECONDS_MAX "$mom" subscribe 'news{demo}' --as reader --peer "${address[$other]}" --count "$lines" \
    --wait 60 --output "$room/topic.got" 2>"$room/subscribe.log" &
helpers+=($!)
mkfifo "$room/half1" "$room/half2" "$room/go1" "$room/go2"
# Each sender reads the first half, tells us, and goes on when it is told to.
feed() { # HALF GO
    head -n $((lines / 2)) "$room/text"
    echo half >"$1"
    read -r <"$2"
    tail -n +$((lines / 2 + 1)) "$room/text"
}
feed "$room/half1" "$room/go1" | timeout $SECONDS_MAX "$mom" send 'text{demo}' --timeout 60 --json \
    >"$room/queue.sent" 2>"$room/send.log" &
sender=$!
feed "$room/half2" "$room/go2" | timeout $SECONDS_MAX "$mom" publish 'news{demo}' --timeout 60 --json \
    >"$room/topic.sent" 2>"$room/publish.log" &
publisher=$!
helpers+=("$sender" "$publisher")
read -r -t $SECONDS_MAX <>"$room/half1" || die "sending stopped"
read -r -t $SECONDS_MAX <>"$room/half2" || die "publishing stopped"
kill -9 "${pid[$leader]}"
killed=$(now_ms)
echo go >"$room/go1"
echo go >"$room/go2"
wait "${pid[$leader]}" 2>/dev/null
unset "pid[$leader]"
"$mom" send 'probe{demo}' 'is anybody there?' --peer "${address[$other]}" || die "no new leader"
failover=$(($(now_ms) - killed))
"$mom" queue info 'text{demo}' --json >"$room/info" && echo "node $(field leader "$room/info") leads now"

say "node $leader comes back on its directory, while the rest is sent"
start "$leader" --data "$room/$leader" --listen "${address[$leader]}"
ready "$leader"
wait "$sender" || die "send: $(cat "$room/send.log")"
wait "$publisher" || die "publish: $(cat "$room/publish.log")"
sent=$(now_ms)
wait "${helpers[0]}" || die "receive: $(cat "$room/receive.log")"
wait "${helpers[1]}" || die "subscribe: $(cat "$room/subscribe.log")"
received=$(now_ms)
helpers=()

say "what came out"
failed=0
printf '%-6s %9s %13s %9s %6s %8s\n' '' sent acknowledged received lost doubled
judge queue "$room/queue.got"
judge topic "$room/topic.got"
echo
echo "failover: $failover ms from SIGKILL until a new program had a message acknowledged by the new leader"
echo "rates, with the failover in it: $((2 * lines * 1000 / (sent - started))) lines/s acknowledged," \
    "$((2 * lines * 1000 / (received - started))) lines/s sent, received and acknowledged through"
for name in a b c; do
    kill -TERM "${pid[$name]}"
    wait "${pid[$name]}" || { echo "node $name ended with $?"; failed=1; }
    unset "pid[$name]"
done
if [ $failed -ne 0 ]; then
    echo "demo: FAILED"
    exit 1
fi
echo "demo: all of it arrived, once, in order"
