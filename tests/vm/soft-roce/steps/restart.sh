. "$SCENARIO/agent.sh"
old=$(paths 20s host-a | jq -r '[.paths[] | select(.target.host == "host-b") | .target.qpn] | unique | map(tostring) | join(" ")')
check "host-a knows this host by one QPN" test "$(echo "$old" | wc -w)" = 1
# BTH bytes 5 to 7 are the QPN that a packet is for; byte 3 of the payload is the kind, 1 a probe.
start follow tcpdump --immediate-mode -s 2048 -B 8192 -U -i "$INTERFACE" -w /tmp/follow \
    "src host $ADDRESS_host_a and udp dst port 4791 and udp[31] = 1 and (udp[12:4] & 0xffffff) != $old"
check "the capture runs" wait_for 10 test -s /tmp/follow
check "the agent stops" stop agent
# How long a guest needs to start a program is not the question: time runs from where the new QPN exists.
opened() {
    [ "$(grep -c 'endpoint is open' "$LOGS/agent.log")" -gt "$1" ]
}
before=$(grep -c 'endpoint is open' "$LOGS/agent.log")
started=$(milliseconds)
start_agent
check "the new agent has a queue pair" wait_for 30 opened "$before"
begun=$(milliseconds)
follows() {
    [ "$(tcpdump -nr /tmp/follow 2>/dev/null | wc -l)" -ge 1 ]
}
check "host-a probes the new QPN within 5 s" wait_for 5 follows
report "restart of the responder: new QPN after $((begun - started)) ms, followed $(($(milliseconds) - begun)) ms later"
check "the capture ends" stop follow
shown() {
    paths_show 5s host-a "map(select(.target.host == \"host-b\" and .target.qpn != $old and .network_rtt != null)) | length > 0"
}
check "the analyzer shows round trips to the new QPN" wait_for 30 shown
