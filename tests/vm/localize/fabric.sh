# Sourced by the steps. Hosts 2t and 2t + 1 are cabled to ToR t, which reaches the other ToRs over both spines.
#
# | cable | network |
# |---|---|
# | host n - its ToR | 10.78.<100 + n>.0/30: ToR .1, host .2 |
# | ToR t - spine s | 10.78.<2t + s>.0/30: ToR .1, spine .2 |
# | host n - the guest itself, where controller and analyzer run | 10.79.n.0/30: guest .1, host .2 |
#
# Spine s answers expired packets from 10.78.200.s, whatever they came in by: so all its links have one end of that name.
HOSTS="0 1 2 3 4 5"
TORS="0 1 2"
SPINES="0 1"
API=http://127.0.0.1:7472

tor_of() {
    echo $(($1 / 2))
}
host_address() {
    echo "10.78.$((100 + $1)).2"
}
spine_address() {
    echo "10.78.200.$1"
}

# paths_show WINDOW CONDITION: whether a jq condition holds for the list of paths.
paths_show() {
    http_get "$API/api/v1/paths?window=$1" >/tmp/paths.json || return 1
    jq -e ".paths | $2" /tmp/paths.json && return 0
    jq -c '.paths[] | [.source.host, .target.host, .source_port, .sent, .lost]' /tmp/paths.json
    return 1
}

# incidents_show CONDITION: whether a jq condition holds for the list of open incidents.
incidents_show() {
    rpingmesh incidents --json --analyzer "$API" >/tmp/incidents.json || return 1
    jq -es "$1" /tmp/incidents.json && return 0
    jq -c '[.state, .category, .subject, .confidence, .evidence]' /tmp/incidents.json
    return 1
}
