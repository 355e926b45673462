# Sourced by the steps that start an agent.

# The monitor and host-a are neighbours under one ToR, host-b is under another: so some paths are of the ToR mesh (one per
# direction), others lead from ToR to ToR (several 5-tuples per direction).
tor() {
    case $NODE in
        host-b) echo tor1 ;;
        *) echo tor0 ;;
    esac
}

# A probe of a guest that is starved by its host comes back late, but it comes back: 500 ms would call that loss.
start_agent() {
    start agent rpingmesh-agent run --transport verbs --tracing off --tor "$(tor)" --spool-dir /tmp/spool \
        --controller "http://$ADDRESS_monitor:7470" --analyzer "http://$ADDRESS_monitor:7471" \
        --probe-timeout 2s --tls-allow-plaintext true
}

# paths WINDOW [SOURCE]: what the analyzer knows of probes sent by SOURCE, or by all.
paths() {
    http_get "http://$ADDRESS_monitor:7472/api/v1/paths?window=$1${2:+&source=$2}"
}

# paths_show WINDOW SOURCE CONDITION: whether a jq condition holds for the list of paths.
paths_show() {
    paths "$1" "$2" >/tmp/paths.json || return 1
    jq -e ".paths | $3" /tmp/paths.json && return 0
    jq -c '.paths[] | {source: .source.host, target: .target.host, qpn: .target.qpn, source_port, sent, lost, invalid}' /tmp/paths.json
    return 1
}
