. "$SCENARIO/agent.sh"
# measured SOURCE TARGET KIND PATHS: whether that many paths, all of that kind, have round trips and lose nothing.
measured() {
    paths_show 20s "$1" "map(select(.target.host == \"$2\")) | length >= $4 and all(.kind == \"$3\" and .sent > 0 and .network_rtt != null)"
}

# Two hosts under one ToR: one path per direction. From ToR to ToR: several, by the UDP source ports of the sender's QPs.
check "the monitor probes host-a within their ToR" wait_for 60 measured monitor host-a tor_mesh 1
check "host-a probes the monitor within their ToR" wait_for 60 measured host-a monitor tor_mesh 1
check "host-a probes host-b on several paths" wait_for 60 measured host-a host-b inter_tor 3
check "host-b probes host-a on several paths" wait_for 60 measured host-b host-a inter_tor 3
check "host-b probes the monitor on several paths" wait_for 60 measured host-b monitor inter_tor 3
check "nobody loses a probe" wait_for 60 paths_show 5s "" 'length >= 14 and all(.lost == 0)'
report "paths: $(paths 20s | jq -c '[.paths[] | "\(.source.host)>\(.target.host)"] | group_by(.) | map({(.[0]): length}) | add')"
