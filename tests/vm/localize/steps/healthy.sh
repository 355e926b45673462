. "$SCENARIO/fabric.sh"
check "every host probes its neighbour, every ToR every other on several paths, and nothing is lost" wait_for 90 paths_show 20s \
    'all(.sent > 0 and .lost == 0) and (map(select(.kind == "tor_mesh")) | length >= 6) and
    (map(select(.kind == "inter_tor")) | group_by([.source.tor, .target.tor]) | length == 6 and all(length >= 6))'

# Each over its own ToR, one of the spines, and the other ToR.
traced() {
    http_get "$API/api/v1/traces?limit=1000" >/tmp/traces.json || return 1
    jq -e '.traces | map(select(.source.tor != .target.tor)) | length >= 36 and all(.route != null
        and (.route | length == 3) and (.route[1] | startswith("10.78.200.")))' /tmp/traces.json && return 0
    jq -c '.traces[] | [.source.host, .target.host, .source_port, .route, .newest.end]' /tmp/traces.json
    return 1
}
check "every path from ToR to ToR is traced over one of the spines" wait_for 60 traced
check "nothing of the network is in question" incidents_show 'map(select(.category != "cpu_overload")) | length == 0'
report "paths over each spine: $(jq -c '[.traces[].route[1] // empty] | group_by(.) | map({(.[0]): length}) | add' /tmp/traces.json)"
