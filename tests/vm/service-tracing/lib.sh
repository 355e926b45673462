# Sourced by the steps: services in their own cgroups, what the tracer says of them, what the analyzer knows of their paths.

# service NAME CMD...: starts a program that outlives the step in a cgroup of its own.
service() {
    service_name=$1
    shift
    mkdir -p "/sys/fs/cgroup/$service_name.service"
    start "$service_name" sh -c 'echo $$ >"/sys/fs/cgroup/$0.service/cgroup.procs" && exec "$@"' \
        "$service_name" "$@"
}

# agent TRACING: probes for the services' connections, and for nothing else but once in a long while: two ToRs with one RNIC each,
# and the controller asks for next to nothing between them. A probe of a guest that is starved by its host comes back
# late, but it comes back: 500 ms would call that loss.
agent() {
    mkdir -p /tmp/spool
    start agent rpingmesh-agent run --transport verbs --tracing "$1" --tor "tor-$NODE" --spool-dir /tmp/spool \
        --controller "http://$ADDRESS_host_a:7470" --analyzer "http://$ADDRESS_host_a:7471" \
        --probe-timeout 2s --tls-allow-plaintext true
}

# watch: a tracer that prints every change.
watch() {
    rm -f "$LOGS/watch.log"
    start watch rpingmesh-agent flows --watch --json
}

# seen CONDITION: whether a jq condition holds for all lines that the tracer printed, as a list.
seen() {
    grep '^{' "$LOGS/watch.log" >/tmp/seen.json
    jq -es "$1" /tmp/seen.json && return 0
    tail -n 5 "$LOGS/watch.log"
    return 1
}

# seen_service NAME COMM: the newest line of that service's connection is right, compared with the kernel's own listing.
seen_service() {
    grep '^{' "$LOGS/watch.log" >/tmp/seen.json
    rdma -j resource show qp >/tmp/qps.json || return 1
    jq -es --slurpfile qps /tmp/qps.json --arg name "$1" --arg comm "$2" --argjson pid "$(cat "$LOGS/$1.pid")" \
        --arg source "$ADDRESS_host_b" --arg destination "$ADDRESS_host_a" \
        --argjson cgroup "$(stat -c %i "/sys/fs/cgroup/$1.service")" '
        map(select((.type == "flow" or .type == "live") and .pid == $pid)) | last
        | . as $flow
        | .comm == $comm and .cgroup == "/" + $name + ".service" and .service == $name + ".service"
            and .cgroup_id == $cgroup and .source_gid == $source and .destination_gid == $destination
            and .live and .state == "RTS" and .udp_source_port >= 49152
            and ($qps[0] | flatten | any(.lqpn == $flow.qpn and .rqpn == $flow.remote_qpn and .pid == $pid))' \
        /tmp/seen.json && return 0
    jq -c "select(.pid == $(cat "$LOGS/$1.pid"))" /tmp/seen.json | tail -n 3
    cat /tmp/qps.json
    return 1
}

# paths_show WINDOW CONDITION: whether a jq condition holds for the list of paths that are probed for services.
paths_show() {
    http_get "http://$ADDRESS_host_a:7472/api/v1/paths?window=$1&kind=service_tracing" >/tmp/paths.json || return 1
    jq -e ".paths | $2" /tmp/paths.json && return 0
    jq -c '.paths[] | {source: .source.host, target: .target.host, service, source_port, sent, lost, invalid}' /tmp/paths.json
    return 1
}

# probed NAME: whether the analyzer has complete probes from this host to host-a for a service.
probed() {
    paths_show 20s "any(.service == \"$1\" and .source.host == \"host-b\" and .target.host == \"host-a\" and .network_rtt.count > 10)"
}

# unprobed NAME: whether the last window has paths of no service of that name.
unprobed() {
    paths_show 5s "all(.service != \"$1\")"
}

# capture FILTER: packets that match on their way out, into /tmp/capture until `stop capture`.
capture() {
    rm -f /tmp/capture
    start capture tcpdump --immediate-mode -s 2048 -B 8192 -U -i "$INTERFACE" -w /tmp/capture "$1"
    check "the capture runs" wait_for 10 test -s /tmp/capture
}
