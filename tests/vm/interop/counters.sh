# Sourced by the steps on the soft-RoCE node: what passed UDP, and what passed soft-RoCE's checks behind it.
udp() {
    awk -v name="$1" '$1 == "Udp:" { if (!n) { for (n = 2; n <= NF; n++) if ($n == name) column = n } else print $column }' /proc/net/snmp
}

taken_by_soft_roce() {
    cat "/sys/class/infiniband/$RXE/ports/1/hw_counters/rcvd_pkts"
}

counters() {
    echo "$(udp InDatagrams) $(($(udp InErrors) + $(udp InCsumErrors))) $(taken_by_soft_roce)"
}
