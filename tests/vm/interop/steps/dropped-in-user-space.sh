dropped() {
    count=$(grep 'datagram dropped' "$LOGS/respond-4.log" | grep -c 'ICRC 0x[0-9a-f]* does not fit')
    [ "$count" = 20 ] && return 0
    echo "$count datagrams were dropped for their ICRC"
    return 1
}
check "the user-space responder dropped 20 packets for their ICRC" dropped
undisturbed() {
    ! grep 'datagram dropped' "$LOGS/respond-$1.log" | grep -v 'ICRC 0x[0-9a-f]* does not fit'
}
check "it dropped nothing for another reason on IPv4" undisturbed 4
none_dropped() {
    ! grep 'datagram dropped' "$LOGS/respond-6.log"
}
check "it dropped nothing on IPv6" none_dropped
