. "$SCENARIO/agent.sh"
paths 20s host-a | jq -c '[.paths[] | select(.target.host == "host-b") | .target.qpn] | unique' >/tmp/old-qpns
check "the agent stops" stop agent
begun=$(milliseconds)
start_agent
follows() {
    paths_show 5s host-a "map(select(.target.host == \"host-b\" and .network_rtt != null) | .target.qpn) - $(cat /tmp/old-qpns) | length > 0"
}
check "host-a follows to the new QPN within 5 s" wait_for 5 follows
report "restart of the responder followed after $(($(milliseconds) - begun)) ms, new agent's start and upload included"
