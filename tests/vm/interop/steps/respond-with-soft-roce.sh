. "$SCENARIO/interop.sh"
ipv6_gid() {
    # The prefix has four digits in each of its words, and so the GID's text begins with it.
    grep -h "^$PREFIX6:" "/sys/class/infiniband/$RXE/ports/1/gids/"*
}

uname -r
check "this node has an IPv6 address" ip -6 addr add "$V6_kernel/64" dev "$INTERFACE" nodad
check "$RXE has the IPv6 address as GID" wait_for 10 ipv6_gid
for family in 4 6; do
    eval "address=\$V${family}_kernel"
    start "respond-$family" rpingmesh-agent respond --transport verbs --gids "$address"
done
for family in 4 6; do
    check "the soft-RoCE responder on IPv$family is up" wait_for 20 responder "respond-$family"
    responder "respond-$family" >"/tmp/respond-$family"
done
publish /tmp/respond-4 /tmp/respond-6
check "its names are published" wait_for 10 responder_at localhost respond-6
