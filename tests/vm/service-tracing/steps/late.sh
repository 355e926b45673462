. "$SCENARIO/lib.sh"
service late ib_write_bw -d "$RXE" -x 1 -F --run_infinitely -p 18516 "$ADDRESS_host_a"
check "a new service is seen with GIDs, queue pairs, process and cgroup" wait_for 60 seen_service late ib_write_bw
check "it is told as a new one" seen 'any(.type == "live" and .comm == "ib_write_bw" and .origin == "created")'
for name in early late; do
    qpn=$(jq -s --argjson pid "$(cat "$LOGS/$name.pid")" 'map(select(.pid == $pid)) | last | .qpn' /tmp/seen.json)
    stop "$name"
    check "the end of $name is seen" wait_for 20 seen "any(.type == \"ended\" and .qpn == $qpn)"
done
