. "$SCENARIO/fabric.sh"
# space NAME: a network namespace.
space() {
    ip netns add "$1" && ip -n "$1" link set lo up
}

# router NAME: one that forwards, balances by 5-tuple and answers every expired packet.
router() {
    space "$1" && ip netns exec "$1" sh -c '
        cd /proc/sys/net/ipv4
        for file in conf/*/rp_filter conf/*/send_redirects icmp_ratemask; do echo 0 >$file; done
        echo 1 >ip_forward
        echo 1 >fib_multipath_hash_policy'
}

# cable A B NETWORK: A has .1 and an interface named B, B has .2 and one named A.
cable() {
    ip link add "$2" netns "$1" type veth peer name "$1" netns "$2" &&
        ip -n "$1" addr add "$3.1/30" dev "$2" && ip -n "$1" link set "$2" up &&
        ip -n "$2" addr add "$3.2/30" dev "$1" && ip -n "$2" link set "$1" up
}

# host NUMBER: cabled to its ToR, and to the guest's own namespace.
host() {
    network=10.78.$((100 + $1))
    space "host$1" && cable "tor$(tor_of "$1")" "host$1" "$network" &&
        ip -n "host$1" route add 10.78.0.0/16 via "$network.1" &&
        ip link add "host$1" type veth peer name servers netns "host$1" &&
        ip addr add "10.79.$1.1/30" dev "host$1" && ip link set "host$1" up &&
        ip -n "host$1" addr add "10.79.$1.2/30" dev servers && ip -n "host$1" link set servers up
}

# tor NUMBER: cabled to both spines.
tor() {
    router "tor$1" || return 1
    for spine in $SPINES; do
        cable "tor$1" "spine$spine" "10.78.$((2 * $1 + spine))" || return 1
    done
}

# over_both_spines TOR NETWORK: a route with two next hops. Linux hashes a 5-tuple and its reverse alike. With the spines in the same
# order at two ToRs ACKs come back over the spine that their probe took, in another order always over the other one: each
# alone hides which of two links loses packets, both together show it. So the last ToR has an order of its own.
over_both_spines() {
    set -- "$1" "$2" "$(($1 / 2))"
    ip -n "tor$1" route add "$2" src "10.78.$((100 + 2 * $1)).1" \
        nexthop via "10.78.$((2 * $1 + $3)).2" nexthop via "10.78.$((2 * $1 + 1 - $3)).2"
}

# ways HOST: from every spine over its ToR, and from every other ToR over both spines.
ways() {
    own=$(tor_of "$1")
    network=10.78.$((100 + $1)).0/30
    for spine in $SPINES; do
        ip -n "spine$spine" route add "$network" via "10.78.$((2 * own + spine)).1" src "$(spine_address "$spine")" ||
            return 1
    done
    for other in $TORS; do
        [ "$other" = "$own" ] || over_both_spines "$other" "$network" || return 1
    done
}

# Some kernels have it built in.
modprobe veth 2>/dev/null
for number in $SPINES; do
    check "spine$number forwards" router "spine$number"
    check "spine$number has its address" ip -n "spine$number" addr add "$(spine_address "$number")/32" dev lo
done
for number in $TORS; do
    check "tor$number forwards and is cabled to the spines" tor "$number"
done
for number in $HOSTS; do
    check "host$number is cabled" host "$number"
done
for number in $HOSTS; do
    check "the switches know the ways to host$number" ways "$number"
done
