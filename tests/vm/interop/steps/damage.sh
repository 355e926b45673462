. "$SCENARIO/interop.sh"
check "a rule damages packets on their way out" damage ip "$V4_kernel"
check "no damaged probe is answered" none_answered damaged "$(responder_at "$V4_kernel" respond-4)" \
    --transport userspace --userspace-addresses "$V4_pinger"
check "packets were damaged" damaged
