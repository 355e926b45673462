. "$SCENARIO/agent.sh"
# One path of host-a to this host loses its probes on arrival. ACKs to host-a's other endpoint roles stay untouched.
port=$(paths 20s host-a | jq -r '[.paths[] | select(.target.host == "host-b") | .source_port] | sort | first')
faulty() {
    nft add table inet faults &&
        nft add chain inet faults input '{ type filter hook input priority 0; }' &&
        nft add rule inet faults input ip saddr "$ADDRESS_host_a" udp sport "$port" udp dport 4791 @th,248,8 1 counter drop
}
check "a rule drops probes of host-a with source port $port" faulty
check "the loss shows on that path" wait_for 30 paths_show 5s host-a \
    "map(select(.source_port == $port)) | length > 0 and all(.sent > 0 and .lost > 0)"
check "host-a's other paths lose nothing" paths_show 5s host-a "map(select(.source_port != $port)) | all(.lost == 0)"
check "host-b's paths lose nothing" paths_show 5s host-b 'length > 0 and all(.lost == 0)'
check "the rule is removed" nft delete table inet faults
check "the loss is over" wait_for 40 paths_show 5s host-a \
    "(map(select(.source_port == $port)) | length > 0) and all(.sent > 0 and .lost == 0)"
