device_is_active() {
    ibv_devinfo -d "$RXE" -v >/tmp/devinfo && grep -q 'state:.*PORT_ACTIVE' /tmp/devinfo
}

# GID 1 is the IPv4-mapped address: its last 32 bits are the node's.
gid_of_the_address() {
    eval "address=\$ADDRESS_$(echo "$NODE" | tr - _)"
    # shellcheck disable=SC2046
    mapped=$(printf '0000:0000:0000:0000:0000:ffff:%02x%02x:%02x%02x' $(echo "$address" | tr . ' '))
    grep -x "$mapped" "/sys/class/infiniband/$RXE/ports/1/gids/"*
}

uname -r
check "$RXE is active" wait_for 10 device_is_active
check "$RXE has the IPv4-mapped GID" wait_for 10 gid_of_the_address
check "the packet filter takes rules" nft add table inet boot
