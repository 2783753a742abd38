#!/usr/bin/env bash
# Scheduler, workers and client on hosts of their own: network namespaces of this machine, joined by a router's. The
# program makes its calls over TCP and over TLS, and again where the router keeps it from the workers' addresses, by
# an error or by silence, so that results must come through the scheduler.
#
#   JOBLOT_TEST_DASK_PYTHON=PYTHON tests/dask/namespaces.sh PROGRAM [LAYOUT...]
#
# Layouts: tcp tls refused silent. Exit status 77: not possible on this machine.
set -uo pipefail

program=$1
shift
layouts=("${@:-tcp}")
[ $# -gt 0 ] || layouts=(tcp tls refused silent)
python=${JOBLOT_TEST_DASK_PYTHON-}
scripts=$(cd "$(dirname "$0")" && pwd)
hosts=(scheduler worker1 worker2 client)
prefix=joblot$$
work=$(mktemp -d)
started=()

skip() { echo "skipped: $*"; exit 77; }
on() { local host=$1; shift; ip netns exec "$prefix-$host" "$@"; }
address() { local i; for i in "${!hosts[@]}"; do [ "${hosts[$i]}" != "$1" ] || echo "10.77.$i.2"; done; }

stop_cluster() {
    local pid
    for pid in "${started[@]:+${started[@]}}"; do kill -KILL -- "-$pid" 2>/dev/null; done
    for pid in "${started[@]:+${started[@]}}"; do while kill -0 -- "-$pid" 2>/dev/null; do sleep 0.05; done; done
    started=()
}
clean_up() {
    local host
    stop_cluster
    for host in "${hosts[@]}" router; do ip netns delete "$prefix-$host" 2>/dev/null; done
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

# Each host has one line to the router, a network of its own.
make_hosts() {
    local i host
    ip netns add "$prefix-router" && on router ip link set lo up || return
    for i in "${!hosts[@]}"; do
        host=${hosts[$i]}
        ip netns add "$prefix-$host" &&
            on "$host" ip link set lo up &&
            on router ip link add "to$i" type veth peer name eth0 netns "$prefix-$host" &&
            on router ip address add "10.77.$i.1/24" dev "to$i" &&
            on router ip link set "to$i" up &&
            on "$host" ip address add "10.77.$i.2/24" dev eth0 &&
            on "$host" ip link set eth0 up &&
            on "$host" ip route add default via "10.77.$i.1" || return
    done
    on router sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
}

# What the router does with packets from the client to the workers: "unreachable" tells the sender, "blackhole" nobody.
keep_client_from_workers() {
    local worker
    for worker in worker1 worker2; do
        on router ip rule add pref 10 from "$(address client)" to "$(address "$worker")" "$1" || return
    done
}
let_client_to_workers() {
    while on router ip rule delete pref 10 2>/dev/null; do :; done
}

make_certificates() (
    cd "$work" || exit
    exec >/dev/null 2>certificates.log
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=joblot-test-ca -keyout ca.key -out ca.pem || exit
    for name in cluster client; do
        openssl req -newkey rsa:2048 -nodes -subj "/CN=joblot-test-$name" -keyout $name.key -out $name.csr &&
            openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out $name.pem || exit
    done
)

# start HOST COMMAND...: in a process group of its own.
start() {
    local host=$1
    shift
    setsid ip netns exec "$prefix-$host" "$@" >"$work/$host.log" 2>&1 </dev/null &
    started+=($!)
    disown # its end is no news
}

# No client waits for one as long as a busy machine may take to start it.
wait_for_scheduler() {
    local i
    for i in {1..600}; do
        on client bash -c "exec 3<>/dev/tcp/$(address scheduler)/8786" 2>/dev/null && return
        sleep 0.2
    done
    echo "no scheduler has come"
    return 1
}

# start_cluster tcp|tls
start_cluster() {
    local protocol=$1 tls=() worker
    [ "$protocol" = tcp ] || tls=(--tls-ca-file "$work/ca.pem" --tls-cert "$work/cluster.pem" --tls-key "$work/cluster.key")
    scheduler=$protocol://$(address scheduler):8786
    start scheduler "$python" -m distributed.cli.dask_scheduler --protocol "$protocol" --host "$(address scheduler)" \
        --port 8786 --no-dashboard "${tls[@]}"
    wait_for_scheduler || return
    for worker in worker1 worker2; do
        mkdir -p "$work/$worker"
        start "$worker" "$python" -m distributed.cli.dask_worker "$scheduler" --host "$(address "$worker")" \
            --nthreads 1 --nworkers 1 --no-nanny --no-dashboard --local-directory "$work/$worker" "${tls[@]}"
    done
}

# Python's view, from the scheduler's own host: no keys, no clients.
left_behind() {
    local tls=()
    case $scheduler in tls:*) tls=("$work/ca.pem" "$work/client.pem" "$work/client.key") ;; esac
    printf '{"ask": "state"}\n' | on scheduler "$python" "$scripts/oracle.py" "$scheduler" "${tls[@]}" |
        "$python" -c 'import json, sys; state = json.load(sys.stdin); print(len(state["tasks"]), len(state["clients"]))'
}

run_layout() {
    local layout=$1 tls=() ends
    case $layout in
    tls) start_cluster tls && tls=(--tls "$work/ca.pem" "$work/client.pem" "$work/client.key") ;;
    tcp | refused | silent) start_cluster tcp ;;
    *) echo "no layout '$layout'" >&2; return 1 ;;
    esac || return
    let_client_to_workers
    case $layout in
    refused) keep_client_from_workers unreachable ;;
    silent) keep_client_from_workers blackhole ;;
    esac || return
    on client timeout --kill-after=5 200 "$program" "$scheduler" --workers 2 "${tls[@]}"
    ends=$?
    [ $ends = 0 ] || { echo "$layout: the program ended with $ends"; tail -n 30 "$work"/*.log; }
    local left
    left=$(left_behind)
    [ "$left" = "0 0" ] || { echo "$layout: keys and clients left on the scheduler: $left"; ends=1; }
    stop_cluster
    return $ends
}

[ -x "$python" ] || skip "JOBLOT_TEST_DASK_PYTHON is '$python'; see scripts/dask_environments.sh"
command -v ip >/dev/null || skip "there is no ip (Debian: iproute2)"
make_hosts 2>"$work/hosts.log" || skip "network namespaces cannot be made here: $(tail -n 1 "$work/hosts.log")"
case " ${layouts[*]} " in
*" tls "*)
    command -v openssl >/dev/null || skip "there is no openssl"
    make_certificates || { cat "$work/certificates.log"; exit 1; }
    ;;
esac

failed=0
for layout in "${layouts[@]}"; do
    begin=$SECONDS
    if run_layout "$layout"; then echo "$layout: right, $((SECONDS - begin)) s"; else echo "$layout: FAILED"; failed=1; fi
done
exit $failed
