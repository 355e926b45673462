. "$SCENARIO/agent.sh"
# UDP payload: BTH 12 bytes (opcode first), DETH 8 bytes, then our payload, whose byte 3 is the kind; 1 is a probe.
rm -f /tmp/capture
start capture tcpdump --immediate-mode -s 2048 -B 8192 -U -i "$INTERFACE" -w /tmp/capture udp dst port 4791
check "the capture runs" wait_for 10 test -s /tmp/capture
packets() {
    tcpdump -nr /tmp/capture "$1" 2>/dev/null
}
enough() {
    [ "$(packets "src host $1 and udp[31] = 1" | wc -l)" -ge 60 ]
}
check "probes of host-a are on the wire" wait_for 30 enough "$ADDRESS_host_a"
check "probes of host-b are on the wire" wait_for 30 enough "$ADDRESS_host_b"
check "the capture ends" stop capture
all_are_ud() {
    others=$(packets 'udp[8] != 0x64')
    [ -z "$others" ] || { printf '%s\n' "$others" | head; return 1; }
}
check "every packet is RoCE v2 UD SEND ONLY (BTH opcode 0x64, port 4791)" all_are_ud

# Source ports of this host's probes: those on the wire and those that the agent reported.
packets "src host $ADDRESS_host_b and udp[31] = 1" | awk '{ n = split($3, part, "."); print part[n] }' | sort -un >/tmp/wire-ports
reported_ports() {
    paths 20s host-b | jq -r '.paths[].source_port' | sort -un >/tmp/reported-ports
    [ -s /tmp/reported-ports ] && cmp /tmp/wire-ports /tmp/reported-ports && return 0
    echo "wire: $(tr '\n' ' ' </tmp/wire-ports) reported: $(tr '\n' ' ' </tmp/reported-ports)"
    return 1
}
check "UDP source ports on the wire are those that the agent reported" wait_for 20 reported_ports
report "UDP source ports of host-b's probes: $(tr '\n' ' ' </tmp/wire-ports)"
