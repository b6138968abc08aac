#!/usr/bin/env bash
#
# What a balancer costs: `parley balance` and nginx in turn before the same instance, on the same processor, with the same
# load, twice each. Needs nginx, and the release builds of parley and parley-load. tests/LOAD.md explains the figures.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

programs=${1:-target/release}
folder=$(mktemp -d)
pids=()
cleanup() {
    kill "${pids[@]}" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$folder"
}
trap cleanup EXIT

wait_for() {
    for _ in {1..200}; do
        if (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then return; fi
        sleep 0.05
    done
    echo "nobody listens on port $1" >&2
    return 1
}

ulimit -n "$(ulimit -Hn)"
export PARLEY_LOG=warn
PARLEY_MESSAGES_PER_SECOND=0 taskset -c 0 "$programs/parley" --listen 127.0.0.1:18081 --admin-listen 127.0.0.1:0 --server-id one &
pids+=($!)
taskset -c 0 "$programs/parley" balance --listen 127.0.0.1:18080 --upstream 127.0.0.1:18081 &
balance=$!
pids+=("$balance")

sed -e "s/worker_processes auto;/worker_processes 1;\ndaemon off;\npid ${folder//\//\\/}\/pid;/" \
    -e 's/worker_connections 4096;/worker_connections 20000;/' \
    -e 's/http {/http {\n    access_log off;/' \
    -e 's/listen 8080;/listen 127.0.0.1:18090;/' -e 's/server-1:8080/127.0.0.1:18081/' -e '/server-2:8080/d' \
    manifests/compose/nginx-round-robin.conf >"$folder/nginx.conf"
taskset -c 0 nginx -p "$folder" -e stderr -c "$folder/nginx.conf" &
pids+=($!)
wait_for 18081 && wait_for 18080 && wait_for 18090
nginx=$(pgrep -P "${pids[-1]}")

line() { grep -E 'CPU|memory|private|latency|missing|messages per read' | sed 's/^/    /'; }
for round in 1 2; do
    for name in balance nginx; do
        port=18080 pid=$balance
        if [[ $name == nginx ]]; then port=18090 pid=$nginx; fi
        load() { "$programs/parley-load" "$@" --url "ws://127.0.0.1:$port/ws" --pin-cpu 1 --pid "$pid" --prefix "$name-$round-$1"; }
        echo "$name, round $round: 2000 connections"
        load idle --sessions 2000 --rooms 100 --ramp 0 --idle 3 --exchange ping | line
        echo "$name, round $round: 500 members, 20 messages a second"
        load run --sessions 500 --rate 20 --warmup 2 --duration 8 --floor --floor-seconds 2 | line
    done
done
