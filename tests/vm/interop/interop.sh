# Sourced by the steps. Each node answers at its own address of either family; the user-space node, whose responder owns
# UDP port 4791 there, pings from further ones.
PREFIX6=fd77:7270
V4_userspace=$ADDRESS_userspace
V6_userspace=$PREFIX6::${ADDRESS_userspace##*.}
V4_pinger=${ADDRESS_userspace%.*}.$((${ADDRESS_userspace##*.} + 100))
V6_pinger=$PREFIX6::${V4_pinger##*.}
V4_kernel=$ADDRESS_kernel
V6_kernel=$PREFIX6::${ADDRESS_kernel##*.}

# What is not this scenario's business: the guests are slow where they are emulated.
export RPINGMESH_PROBE_TIMEOUT=5s RPINGMESH_TRACING=off

# publish FILE...: the other node reads them with http_get.
publish() {
    mkdir -p /tmp/public
    cp "$@" /tmp/public
    start httpd busybox httpd -f -p 7480 -h /tmp/public
}

# The GID%QPN that the responder NAME has printed.
responder() {
    grep '^[0-9a-f.:]*%' "$LOGS/$1.log" | tail -n 1 | grep .
}

# The same of a responder on the other node, whose address is $1.
responder_at() {
    http_get "http://$1:7480/$2"
}

# ping NAME TARGET ARGUMENTS: the lines of every probe in /tmp/NAME.json, with their times as of this node.
ping_target() {
    ping_name=$1
    shift
    rpingmesh-agent ping --json "$@" >"/tmp/$ping_name.json"
}

# probes NAME CONDITION: whether a jq condition holds for the list of probes.
probes() {
    jq -es "map(select(.type == \"probe\")) | $2" "/tmp/$1.json" && return 0
    jq -cs 'map(select(.type == "probe")) | group_by([.outcome, .reason]) | map({outcome: .[0].outcome, reason: .[0].reason, probes: length})' \
        "/tmp/$1.json"
    return 1
}

# Hundred probes, of which each must be answered. Software stamps of a starved guest may contradict each other (the
# responder's part then seems longer than the whole); such a result is invalid, says so, and is an answer nevertheless.
# Second ACKs can be missing, too. On a busy machine eight of 1600 were invalid; twenty of hundred leave room.
all_answered() {
    all_name=$1
    check "$all_name: pings" ping_target "$@" --count 100 --interval 20ms
    check "$all_name: every probe is told of" probes "$all_name" 'length == 100'
    check "$all_name: no probe is lost" probes "$all_name" 'all(.outcome != "lost")'
    check "$all_name: four of five are complete, and what is not says why" probes "$all_name" \
        '(map(select(.outcome == "complete")) | length >= 80) and all(.outcome == "complete" or .reason != null)'
    [ "$(probes "$all_name" 'map(select(.outcome == "invalid")) | length')" = 0 ] ||
        report "$all_name: reasons of invalid results: $(jq -cs 'map(select(.type == "probe" and .outcome == "invalid") | .reason | tostring) | group_by(.) | map({(.[0]): length}) | add' "/tmp/$all_name.json")"
    report "$all_name: $(jq -c 'select(.type == "summary") | {clock, sent, complete, lost, invalid, network_rtt}' "/tmp/$all_name.json")"
}

# steers NAME true|false|null: what a ping has learned of its endpoint: whether the flow label decides the UDP source port.
steers() {
    jq -es "map(select(.type == \"summary\")) | length == 1 and .[0].flow_label_steers == $2" "/tmp/$1.json" && return 0
    jq -c 'select(.type == "summary")' "/tmp/$1.json"
    return 1
}

# Twenty probes, none of which may be answered.
none_answered() {
    none_name=$1
    if ping_target "$@" --count 20 --interval 20ms --probe-timeout 2s 2>"/tmp/$none_name.error"; then
        echo "ping found an answer"
        return 1
    fi
    grep -q 'nothing came back' "/tmp/$none_name.error" || {
        cat "/tmp/$none_name.error"
        return 1
    }
    probes "$none_name" 'length == 20 and all(.outcome == "lost")'
}

# damage FAMILY ADDRESS: one byte of each packet to that address changes on its way out: byte 5 of the probe's payload
# (after UDP, BTH and DETH), which no receiver looks at. So nothing but the ICRC shows the damage; the UDP checksum is
# taken away for it not to.
damage() {
    nft add table inet faults &&
        nft add chain inet faults output '{ type filter hook output priority 0; }' &&
        nft add rule inet faults output "$1" daddr "$2" udp dport 4791 @th,264,8 set 0x55 udp checksum set 0 counter
}

damaged() {
    nft list table inet faults | grep -Eq 'counter packets [1-9]' || {
        nft list table inet faults
        return 1
    }
}
