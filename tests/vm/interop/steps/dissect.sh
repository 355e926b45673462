. "$SCENARIO/interop.sh"
check "the capture ends" stop capture

# Where a result lacks its second ACK: whether it was on the wire. Byte 3 of the payload is the kind: probe, first ACK,
# second ACK. tcpdump finds the payload in IPv4 only.
kinds() {
    for kind in 1 2 3; do
        tcpdump -nr /tmp/capture "src host $1 and udp[31] = $kind" 2>/dev/null | wc -l
    done | tr '\n' ' '
}
report "IPv4: probes, first and second ACKs on the wire from soft-RoCE: $(kinds "$V4_kernel"), from user space: $(kinds "$V4_userspace"), from its pinger: $(kinds "$V4_pinger")"

# One line for each packet that came from the user-space node: what tshark says of it. The packets of soft-RoCE are not
# ours, and a checksum of zero in IPv6 is an error to tshark.
FIELDS="frame.protocols infiniband.bth.opcode infiniband.bth.padcnt infiniband.bth.tver infiniband.bth.p_key \
infiniband.deth.q_key infiniband.deth.srcqp infiniband.invariant.crc _ws.expert.message"
dissect() {
    arguments=
    for field in $FIELDS; do
        arguments="$arguments -e $field"
    done
    # shellcheck disable=SC2086
    tshark -n -r /tmp/capture -o ip.check_checksum:TRUE -o udp.check_checksum:TRUE \
        -Y "$1" -T fields -E separator=/t $arguments >/tmp/dissected 2>/tmp/tshark.errors && return 0
    cat /tmp/tshark.errors
    return 1
}
enough() {
    [ "$(wc -l </tmp/dissected)" -ge "$1" ] && return 0
    echo "$(wc -l </tmp/dissected) packets, $1 or more are expected"
    return 1
}
# every CONDITION: an awk condition on the fields, in the order of FIELDS.
every() {
    awk -F '\t' "!($1) { print; bad = 1; if (++n == 5) exit } END { exit bad }" /tmp/dissected
}

for family in 4 6; do
    case $family in
        4) filter="ip.src == $V4_userspace || ip.src == $V4_pinger" ;;
        6) filter="ipv6.src == $V6_userspace || ipv6.src == $V6_pinger" ;;
    esac
    check "IPv$family: tshark reads the capture" dissect "($filter) && udp.dstport == 4791"
    # 100 probes of the user-space node and two ACKs to each of 100 probes of the other one.
    check "IPv$family: our packets are there" enough 300
    check "IPv$family: each is dissected as InfiniBand over UDP" every '$1 ~ /:udp:infiniband/'
    check "IPv$family: each is UD SEND ONLY, version 0, of the default partition" every '$2 == 100 && $4 == 0 && $5 ~ /^(0xffff|65535)$/'
    check "IPv$family: each has DETH, padding of 2 bytes and ICRC" every '$3 == 2 && $6 != "" && $7 != "" && $8 != ""'
    check "IPv$family: tshark complains of none, checksums included" every '$9 == ""'
    report "IPv$family: tshark dissected $(wc -l </tmp/dissected) packets of the user-space node: $(cut -f 1 /tmp/dissected | sort | uniq -c | tr -s ' \n' ' ')"
done
