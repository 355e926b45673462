. "$SCENARIO/lib.sh"
service late ibv_rc_pingpong -d "$RXE" -g 1 -e -n 100000000 -p 18516 "$ADDRESS_host_a"
check "a new service is seen with GIDs, queue pairs, process and cgroup" wait_for 60 seen_service late ibv_rc_pingpong
check "it is told as a new one" seen \
    "any(.type == \"live\" and .pid == $(cat "$LOGS/late.pid") and .origin == \"created\")"
check "probes for it reach the analyzer, tagged with its name" wait_for 60 probed late.service
check "those for the other go on" probed early.service

# over NAME: that the service's connection and its probes have ended.
over() {
    qpn=$(jq -s --argjson pid "$(cat "$LOGS/$1.pid")" 'map(select(.pid == $pid)) | last | .qpn' /tmp/seen.json)
    check "the end of $1 is seen" wait_for 20 seen "any(.type == \"ended\" and .qpn == $qpn)"
    check "it is probed no longer" wait_for 30 unprobed "$1.service"
}
stop early
over early
# Killed, it destroys nothing itself: the kernel does.
kill -KILL "$(cat "$LOGS/late.pid")"
over late
