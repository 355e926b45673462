# Sourced by the steps: services in their own cgroups, and what the tracer says of them.

# service NAME CMD...: starts a program that outlives the step in a cgroup of its own.
service() {
    service_name=$1
    shift
    mkdir -p "/sys/fs/cgroup/$service_name.service"
    start "$service_name" sh -c 'echo $$ >"/sys/fs/cgroup/$0.service/cgroup.procs" && exec "$@"' \
        "$service_name" "$@"
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

