. "$SCENARIO/interop.sh"
check "the rule is removed" nft delete table inet faults
all_answered repaired-user-space-to-soft-roce "$(responder_at "$V4_kernel" respond-4)" \
    --transport userspace --userspace-addresses "$V4_pinger"
