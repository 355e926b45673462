# Round trips of rdma-core's example and of the agent between the same guests, one after the other.
pingpong() {
    pingpong_name=$1
    shift
    ibv_ud_pingpong -d "$RXE" -g 1 -n 1000 -s 64 "$@" "$ADDRESS_host_a" >"/tmp/$pingpong_name"
}
target=$(http_get "http://$ADDRESS_host_a:7480/responder")
ping_responder() {
    rpingmesh-agent ping "$target" --count 300 --interval "$2" --probe-timeout 5s --json --transport verbs \
        --tracing off >"/tmp/$1.json"
}
all_answered() {
    jq -es 'map(select(.type == "summary")) | length == 1 and .[0].sent == 300 and .[0].lost == 0' "/tmp/$1.json" ||
        { tail -n 1 "/tmp/$1.json"; return 1; }
}

# The first run of each fills caches.
check "ibv_ud_pingpong with host-a, first run" wait_for 30 pingpong warm -p 18511
check "ping of host-a, first run" ping_responder warm 10ms
check "ibv_ud_pingpong with host-a, which polls" wait_for 30 pingpong polling -p 18512
check "ping of host-a" ping_responder ping 10ms
check "no probe is lost" all_answered ping
check "ibv_ud_pingpong with host-a, which sleeps on events" wait_for 30 pingpong sleeping -p 18513 -e
check "ping of host-a, again" ping_responder again 10ms
check "no probe is lost, again" all_answered again

# iteration NAME: mean of ibv_ud_pingpong's iterations, in microseconds.
iteration() {
    sed -n 's|.* = \([0-9.]*\) usec/iter.*|\1|p' "/tmp/$1"
}
spans() {
    jq -r 'select(.type == "summary") | .network_rtt | "min \(.min_ns / 1000) p50 \(.p50_ns / 1000) p90 \(.p90_ns / 1000) us"' "/tmp/$1.json"
}
median() {
    jq -r 'select(.type == "summary") | .network_rtt.p50_ns / 1000' "/tmp/$1.json"
}
ratio() {
    awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'
}
report "ibv_ud_pingpong, mean iteration: polling $(iteration polling) us, sleeping on events $(iteration sleeping) us"
report "network RTT of rpingmesh-agent ping: $(spans ping); again: $(spans again)"
report "median network RTT / iteration: $(ratio "$(median ping)" "$(iteration polling)") of polling, $(ratio "$(median again)" "$(iteration sleeping)") of sleeping"
