. "$SCENARIO/trouble.sh"
check "an index without an entry is named, with those that exist" \
    says 1 "its GID table has nothing at the configured index 77; its GID table has" rpingmesh-agent ping "$ADDRESS_host%0x11" --count 1 --gid-index 77
check "a GID that the port does not have is named" \
    says 1 "it has none of the configured GIDs (10.9.9.9)" rpingmesh-agent ping "$ADDRESS_host%0x11" --count 1 --gids 10.9.9.9
check "a device that does not exist is named, with those that do" \
    says 1 "\`devices\` allows none of $RXE/1" rpingmesh-agent ping "$ADDRESS_host%0x11" --count 1 --devices nonesuch
