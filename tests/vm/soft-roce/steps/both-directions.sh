. "$SCENARIO/agent.sh"
measured() {
    paths_show 20s "$1" "map(select(.target.host == \"$2\")) | length > 0 and all(.sent > 0 and .network_rtt != null)"
}

check "host-a probes host-b" wait_for 60 measured host-a host-b
check "host-b probes host-a" wait_for 60 measured host-b host-a
check "no probe of host-a is lost" wait_for 30 paths_show 5s host-a 'length > 0 and all(.lost == 0)'
check "no probe of host-b is lost" wait_for 30 paths_show 5s host-b 'length > 0 and all(.lost == 0)'
