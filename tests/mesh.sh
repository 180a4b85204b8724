# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# For scripts that run real `mom node` processes. Sourced. Everything that is started is ended by its process
# id when the script exits; everything that is written lies in $room, which goes with it.
#
#   mesh_addresses N        fills the array `address` with N free addresses of the kernel's choice
#   mesh_form N             starts N nodes a, b, c, ... that form a mesh, and waits until they serve
#   node_start NAME ARG...  starts `mom node --name NAME --data $room/NAME ARG...`
#   node_ready NAME         waits for its `ready` line, at most READY_SECONDS
#   node_kill NAME...       SIGKILL to all of them at once
#   node_stop NAME          SIGTERM; fails if it does not end well

mom=${MOM_BIN:?the folder of the program mom}/mom
READY_SECONDS=${READY_SECONDS:-60}
room=$(mktemp -d)
declare -A node_pid node_fd node_address
address=()
form=
background=()

mesh_end() {
    local pid
    for pid in "${node_pid[@]}" "${background[@]}"; do
        kill -9 "$pid" 2>/dev/null
    done
    wait 2>/dev/null
    if [ -n "${KEEP_ROOM:-}" ]; then
        echo "kept: $room" >&2
    else
        rm -rf "$room"
    fi
}
trap mesh_end EXIT
trap 'exit 130' INT TERM

# Prints what the nodes said, for a failure that somebody has to look into.
mesh_logs() {
    local log
    for log in "$room"/*.log; do
        [ -s "$log" ] || continue
        echo "--- $(basename "$log")" >&2
        tail -n "${LOG_LINES:-25}" "$log" >&2
    done
}

# Its standard output is a pipe that we hold open, so that reading waits for the line itself.
node_start() {
    local name=$1 fd
    shift
    rm -f "$room/$name.pipe"
    mkfifo "$room/$name.pipe"
    exec {fd}<>"$room/$name.pipe"
    node_fd[$name]=$fd
    "$mom" node --name "$name" --data "$room/$name" "$@" \
        >"$room/$name.pipe" 2>>"$room/$name.log" {fd}>&- &
    node_pid[$name]=$!
}

# A node that ends before it is ready is noticed at the next second.
node_ready() {
    local name=$1 word id mesh where waited=0
    while ! IFS=' ' read -r -t 1 -u "${node_fd[$name]}" word _ id mesh where; do
        waited=$((waited + 1))
        if [ "$waited" -ge "$READY_SECONDS" ] || ! kill -0 "${node_pid[$name]}" 2>/dev/null; then
            echo "node $name does not get ready" >&2
            mesh_logs
            return 1
        fi
    done
    local fd=${node_fd[$name]}
    exec {fd}>&-
    if [ "$word" != ready ] || [ -z "$id" ] || [ -z "$mesh" ]; then
        echo "node $name: a strange ready line: $word $id $mesh" >&2
        return 1
    fi
    node_address[$name]=$where
}

node_kill() {
    local name pids=()
    for name in "$@"; do
        pids+=("${node_pid[$name]}")
    done
    kill -9 "${pids[@]}"
    for name in "$@"; do
        wait "${node_pid[$name]}" 2>/dev/null
        unset "node_pid[$name]"
    done
}

node_stop() {
    local status=0
    kill -TERM "${node_pid[$1]}"
    wait "${node_pid[$1]}" || status=$?
    unset "node_pid[$1]"
    return $status
}

# A node that listens at port 0 tells the port it got; it is free again when that node has ended.
mesh_addresses() {
    local i count=$1
    address=()
    for ((i = 0; i < count; i++)); do
        local fd pid where
        mkfifo "$room/port$i.pipe"
        exec {fd}<>"$room/port$i.pipe"
        "$mom" node --memory --listen tcp://127.0.0.1:0 >"$room/port$i.pipe" \
            2>"$room/port$i.log" {fd}>&- &
        pid=$!
        background+=("$pid")
        if ! IFS=' ' read -r -t "$READY_SECONDS" -u "$fd" _ _ _ _ where; then
            mesh_logs
            return 1
        fi
        exec {fd}>&-
        address+=("$where")
    done
    for pid in "${background[@]}"; do
        kill -9 "$pid"
        wait "$pid" 2>/dev/null
    done
    background=()
    rm -f "$room"/port*.pipe "$room"/port*.log
}

mesh_form() {
    local i names=(a b c d e f g) name
    mesh_addresses "$1" || return 1
    form=
    for ((i = 0; i < $1; i++)); do
        form+=${form:+,}${names[i]}=${address[i]}
    done
    for ((i = 0; i < $1; i++)); do
        node_start "${names[i]}" --listen "${address[i]}" --form "$form"
    done
    for ((i = 0; i < $1; i++)); do
        node_ready "${names[i]}" || return 1
    done
}

# node_restart NAME...: in this order, each on its directory and address alone.
node_restart() {
    local name
    for name in "$@"; do
        node_start "$name" --listen "${node_address[$name]}"
    done
    for name in "$@"; do
        node_ready "$name" || return 1
    done
}

# peers [NAME]: addresses of all nodes, or of all except one.
peers() {
    local name all=
    for name in "${!node_address[@]}"; do
        [ "$name" = "${1:-}" ] || all+=${all:+,}${node_address[$name]}
    done
    echo "$all"
}

# leader_of QUEUE: name of the node that leads its shard.
leader_of() {
    "$mom" queue info "$1" --json --peer "$(peers)" |
        sed -n 's/.*"leader":"\([^"]*\)".*/\1/p'
}
