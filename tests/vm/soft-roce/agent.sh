# Sourced by the steps that start an agent.
start_agent() {
    start agent rpingmesh-agent run --transport verbs --tracing off --tor tor0 --spool-dir /tmp/spool \
        --controller "http://$ADDRESS_monitor:7470" --analyzer "http://$ADDRESS_monitor:7471" \
        --tls-allow-plaintext true
}

# paths WINDOW SOURCE: what the analyzer knows of probes sent by SOURCE.
paths() {
    http_get "http://$ADDRESS_monitor:7472/api/v1/paths?window=$1&source=$2"
}

# paths_show WINDOW SOURCE CONDITION: whether a jq condition holds for the list of paths.
paths_show() {
    paths "$1" "$2" >/tmp/paths.json || return 1
    jq -e ".paths | $3" /tmp/paths.json && return 0
    jq -c '.paths[] | {source: .source.host, target: .target.host, qpn: .target.qpn, source_port, sent, lost, invalid}' /tmp/paths.json
    return 1
}
