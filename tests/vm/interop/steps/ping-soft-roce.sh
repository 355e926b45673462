. "$SCENARIO/interop.sh"
for family in 4 6; do
    eval "from=\$V${family}_pinger"
    all_answered "user-space-to-soft-roce-ipv$family" "$(responder_at "$V4_kernel" "respond-$family")" \
        --transport userspace --userspace-addresses "$from"
    check "IPv$family: soft-RoCE shows no source port to its responder" probes "user-space-to-soft-roce-ipv$family" \
        'all(.source_port_seen == null)'
    check "IPv$family: so nothing is learned" steers "user-space-to-soft-roce-ipv$family" null
    # From one address of this node to another.
    all_answered "user-space-to-user-space-ipv$family" "$(responder "respond-$family")" \
        --transport userspace --userspace-addresses "$from"
    check "IPv$family: user space is found to steer by flow labels" steers "user-space-to-user-space-ipv$family" true
done
