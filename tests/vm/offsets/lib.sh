# Sourced by the steps: what the tracer says.

# flows CMD...: what CMD runs is `flows --json`; its line on the tracer is /tmp/tracer.json.
flows() {
    "$@" rpingmesh-agent flows --json >/tmp/flows.json || return 1
    tail -n 1 /tmp/flows.json >/tmp/tracer.json
}

# says CONDITION: whether a jq condition holds for that line.
says() {
    jq -e "$1" /tmp/tracer.json && return 0
    cat /tmp/tracer.json
    return 1
}

# with_foreign_core CMD...: CMD sees an ib_core from elsewhere, without type information of its own.
with_foreign_core() {
    mkdir -p /tmp/btf
    cp /sys/kernel/btf/vmlinux /tmp/btf/vmlinux
    echo OE >/tmp/taint
    unshare -m sh -c 'mount -o bind /tmp/btf /sys/kernel/btf && mount -o bind /tmp/taint /sys/module/ib_core/taint && exec "$@"' \
        sh "$@"
}
