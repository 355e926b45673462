. "$SCENARIO/interop.sh"
for family in 4 6; do
    eval "from=\$V${family}_kernel"
    all_answered "soft-roce-to-user-space-ipv$family" "$(responder_at "$V4_userspace" "respond-$family")" \
        --transport verbs --gids "$from"
done
