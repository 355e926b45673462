. "$SCENARIO/interop.sh"
# Soft-RoCE would own the port.
no_soft_roce() {
    ! grep -w rdma_rxe /proc/modules
}
more_addresses() {
    ip -4 addr add "$V4_pinger/24" dev "$INTERFACE" &&
        ip -6 addr add "$V6_userspace/64" dev "$INTERFACE" nodad &&
        ip -6 addr add "$V6_pinger/64" dev "$INTERFACE" nodad
}

uname -r
check "soft-RoCE is not loaded here" no_soft_roce
check "this node has more addresses" more_addresses
for family in 4 6; do
    eval "address=\$V${family}_userspace"
    start "respond-$family" rpingmesh-agent respond --transport userspace --userspace-addresses "$address" \
        --log-level info,rpingmesh::transport::userspace=debug
done
for family in 4 6; do
    check "the user-space responder on IPv$family is up" wait_for 20 responder "respond-$family"
    responder "respond-$family" >"/tmp/respond-$family"
done
publish /tmp/respond-4 /tmp/respond-6
check "its names are published" wait_for 10 responder_at localhost respond-6
