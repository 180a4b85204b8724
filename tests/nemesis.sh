#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Real processes under faults: three to five stores, producers, consumers and others, each in a network
# namespace of its own; kill -9, SIGSTOP, cuts of all kinds, delay, loss, full and slow disks, drawn from a
# seed. At the end all is healed and drained, and the checkers of tests/check judge what everyone saw.
#
#   tests/nemesis.sh --seconds N --seed S [--faults KIND,...] [--stores N] [--form namespaces|forwarders]
#   tests/nemesis.sh --list      the kinds of faults
#
# Prints for each kind how often it came and the longest gaps in service; a kind that cannot be done on this
# machine is printed as NOT RUN with the reason. Where namespaces are not allowed, forwarders on the loopback
# interface take the place of the network. Exit status 1: a violation, a hang, a crash, or something left
# behind; the histories and logs are kept then, and where is printed.
# MOM_BIN is the folder of the program mom; without it the tree is built first. KEEP_ROOM keeps all.
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd)
if [ "${1:-}" = --list ]; then
    exec python3 -B "$here/nemesis/main.py" --list
fi
if [ -z "${MOM_BIN:-}" ]; then
    bash "$here/install-deps.sh" && cmake -S "$here/.." -B "$here/../build" -G Ninja >/dev/null &&
        cmake --build "$here/../build" >/dev/null || exit 1
    MOM_BIN=$(cd "$here/../build/bin" && pwd)
fi
room=$(mktemp -d "${TMPDIR:-/tmp}/mom-nemesis.XXXXXX")
prefix=mn$$-

# Prints what is left of the run, and removes it: once this is for certain, and once it is a failure.
sweep() {
    local left=0 pid cmd space disk
    for cmd in /proc/[0-9]*/cmdline; do
        pid=${cmd#/proc/}
        pid=${pid%/cmdline}
        if [ "$pid" != $$ ] && { tr '\0' ' ' <"$cmd"; } 2>/dev/null | grep -qF -e "$room/"; then
            echo "left over: process $pid"
            kill -9 "$pid" 2>/dev/null
            left=1
        fi
    done
    for space in /run/netns/"$prefix"*; do
        [ -e "$space" ] || continue
        echo "left over: namespace ${space##*/}"
        ip netns del "${space##*/}"
        left=1
    done
    for disk in "$room"/disk-*; do
        if mountpoint -q "$disk" 2>/dev/null; then
            echo "left over: mount $disk"
            umount "$disk" || umount -l "$disk"
            left=1
        fi
    done
    return $left
}

told=0
trap 'told=1; kill -TERM "$child" 2>/dev/null' INT TERM
python3 -B "$here/nemesis/main.py" --bin "$MOM_BIN" --room "$room" --prefix "$prefix" "$@" &
child=$!
wait "$child"
status=$?
while kill -0 "$child" 2>/dev/null; do
    wait "$child"
    status=$?
done
sweep || status=1
if [ $status -ne 0 ] && [ $status -ne 2 ] && [ $told -eq 0 ] || [ -n "${KEEP_ROOM:-}" ]; then
    echo "kept: $room"
else
    rm -rf "$room"
fi
exit $status
