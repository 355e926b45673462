. "$SCENARIO/fabric.sh"
# The spine over which most paths lead to tor1; a third of the packets from it to tor1 is lost.
address=$(jq -r '.traces[] | select(.target.tor == "tor1" and .source.tor != "tor1") | .route[1]' /tmp/traces.json |
    sort | uniq -c | sort -rn | awk 'NR == 1 { print $2 }')
spine=spine${address##*.}
echo "$spine $address" >/tmp/faulty
lossy() {
    ip netns exec "$spine" nft 'add table ip faults
        add chain ip faults out { type filter hook postrouting priority 0; }
        add rule ip faults out oifname "tor1" numgen random mod 3 < 1 counter drop'
}
check "$spine loses a third of its packets to tor1" lossy
begun=$(milliseconds)
is_the_link=".subject.kind == \"link\" and .subject.from == \"$address\" and .subject.to == \"tor1\""
check "the incident names the link from $spine to tor1" wait_for 60 incidents_show \
    "any($is_the_link and .category == \"link_loss\")"
report "fault to incident: $(($(milliseconds) - begun)) ms"
report "direction, loss: $(jq -r "select($is_the_link) | \"\(.subject.from) -> \(.subject.to), \(.share * 100 | round) %\"" /tmp/incidents.json)"
check "no other link, no switch and no RNIC is named" incidents_show \
    "map(select((.category == \"cpu_overload\" or ($is_the_link)) | not)) | length == 0"
explained() {
    number=$(jq -s "map(select($is_the_link))[0].id" /tmp/incidents.json)
    rpingmesh incidents "$number" --analyzer "$API" | tee /tmp/explained | grep "$address" | grep tor1
}
check "rpingmesh incidents explains it" explained
sed 's/^/# /' /tmp/explained
