. "$SCENARIO/lib.sh"
connected() {
    rdma -j resource show qp | jq -e --argjson pid "$(cat "$LOGS/early.pid")" \
        'flatten | any(.pid == $pid and .state == "RTS")'
}

service early ibv_rc_pingpong -d "$RXE" -g 1 -n 100000000 -p 18515 "$ADDRESS_host_a"
check "a service is connected before the tracer starts" wait_for 30 connected
watch
check "the tracer attaches" wait_for 60 seen 'any(.type == "tracer" and .state == "attached" and .completes_listing)'
check "the service from before is there with GIDs, queue pairs, process and cgroup" \
    wait_for 20 seen_service early ibv_rc_pingpong
check "it is told as one from before" seen 'any((.type == "flow" or .type == "live") and .comm == "ibv_rc_pingpong" and .origin == "listed")'
