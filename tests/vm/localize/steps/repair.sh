. "$SCENARIO/fabric.sh"
read -r spine address </tmp/faulty
report "packets that $spine dropped: $(ip netns exec "$spine" nft -j list chain ip faults out | jq '[.. | .counter? // empty | .packets] | add')"
check "the link is repaired" ip netns exec "$spine" nft delete table ip faults
begun=$(milliseconds)
closed() {
    rpingmesh incidents --state closed --json --analyzer "$API" >/tmp/closed.json &&
        jq -es "any(.subject.from == \"$address\" or .subject.to == \"$address\")" /tmp/closed.json &&
        incidents_show 'map(select(.category != "cpu_overload")) | length == 0'
}
check "the incident closes" wait_for 120 closed
report "repair to closed incident: $(($(milliseconds) - begun)) ms"
