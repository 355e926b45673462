. "$SCENARIO/interop.sh"
for family in 4 6; do
    eval "from=\$V${family}_kernel"
    all_answered "soft-roce-to-user-space-ipv$family" "$(responder_at "$V4_userspace" "respond-$family")" \
        --transport verbs --gids "$from"
    # The responder sees the UDP source ports: those of soft-RoCE are its QPs', whatever the flow label.
    check "IPv$family: the responder saw the source ports that were meant" probes "soft-roce-to-user-space-ipv$family" \
        'all(.source_port != null and .source_port_seen == .source_port)'
    check "IPv$family: soft-RoCE is found not to steer by flow labels" steers "soft-roce-to-user-space-ipv$family" false
done
