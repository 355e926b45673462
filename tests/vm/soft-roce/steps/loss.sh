. "$SCENARIO/agent.sh"
# One of host-a's several paths to this host loses its probes on arrival. Probes on its other UDP source ports, those of
# the monitor and all ACKs stay untouched.
ports() {
    paths 20s host-a | jq -r '[.paths[] | select(.target.host == "host-b") | .source_port] | unique | map(tostring) | join(" ")'
}
all=$(ports)
port=${all%% *}
check "host-a probes this host from several UDP source ports" test "$(echo "$all" | wc -w)" -ge 3
# After UDP, BTH and DETH, byte 3 of the payload is the kind; 1 is a probe.
faulty() {
    nft add table inet faults &&
        nft add chain inet faults input '{ type filter hook input priority 0; }' &&
        nft add rule inet faults input ip saddr "$ADDRESS_host_a" udp sport "$port" udp dport 4791 @th,248,8 1 counter drop
}
# One window in which all probes of that path are lost and none of any other.
faulty_path="(.source.host == \"host-a\" and .target.host == \"host-b\" and .source_port == $port)"
isolated() {
    paths_show 5s "" "(map(select($faulty_path)) | length == 1 and all(.sent > 0 and .lost == .sent)) and (map(select($faulty_path | not)) | length >= 13 and all(.sent > 0 and .lost == 0))"
}
check "a rule drops probes of host-a with source port $port" faulty
check "that path loses all its probes, the others none" wait_for 40 isolated
report "loss on $port: $(jq -c '[.paths[] | {path: "\(.source.host)>\(.target.host):\(.source_port)", sent, lost}]' /tmp/paths.json)"
check "the rule is removed" nft delete table inet faults
check "the loss is over" wait_for 40 paths_show 5s "" \
    "(map(select($faulty_path)) | length == 1) and length >= 14 and all(.sent > 0 and .lost == 0)"
