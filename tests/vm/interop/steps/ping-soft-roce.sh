. "$SCENARIO/interop.sh"
for family in 4 6; do
    eval "from=\$V${family}_pinger"
    all_answered "user-space-to-soft-roce-ipv$family" "$(responder_at "$V4_kernel" "respond-$family")" \
        --transport userspace --userspace-addresses "$from"
done
