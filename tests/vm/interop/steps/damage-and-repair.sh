. "$SCENARIO/interop.sh"
target=$(responder_at "$V4_userspace" respond-4)
check "a rule damages packets on their way out" damage ip "$V4_userspace"
check "no damaged probe is answered" none_answered damaged "$target" --transport verbs --gids "$V4_kernel"
check "packets were damaged" damaged
check "the rule is removed" nft delete table inet faults
all_answered repaired-soft-roce-to-user-space "$target" --transport verbs --gids "$V4_kernel"
