. "$SCENARIO/lib.sh"
# From the call of modify_qp to RTR to the first probe on the wire, both by this guest's clock. Each connection lasts for
# 500 ms and is followed by 500 ms without any, so that a probe belongs to one connection.
COUNT=50
epoch=$(date +%s)
# UDP payload: BTH 12 bytes, DETH 8 bytes, then our payload, whose byte 3 is the kind; 1 is a probe.
capture "src host $ADDRESS_host_b and dst host $ADDRESS_host_a and udp dst port 4791 and udp[8] = 0x64 and udp[31] = 1"
mkdir -p /sys/fs/cgroup/short.service
check "$COUNT connections come and go" sh -c "echo \$\$ >/sys/fs/cgroup/short.service/cgroup.procs
    exec qp-churn $RXE 1 $ADDRESS_host_a connect $COUNT >/tmp/connections"
check "the capture ends" stop capture
tcpdump -tt --nano -nr /tmp/capture 2>/dev/null |
    awk -v epoch="$epoch" '{ printf "%.0f\n", ($1 - epoch) * 1000000 }' >/tmp/probes
# Microseconds from RTR to the first probe and from the end to the last one; how many came in the 100 ms before RTR.
awk -v epoch="$epoch" '
    function since(ns) { return (substr(ns, 1, 10) - epoch) * 1000000 + substr(ns, 11) / 1000 }
    FNR == NR { probe[++count] = $1; next }
    {
        gsub(/[^0-9 ]/, " ")
        begin = since($2)
        end = since($3)
        first = last = -1
        stray = 0
        for (i = 1; i <= count; i++) {
            if (probe[i] >= begin - 100000 && probe[i] < begin) stray++
            if (probe[i] >= begin && probe[i] <= end && first < 0) first = probe[i] - begin
            if (probe[i] > end && probe[i] < end + 400000) last = probe[i] - end
        }
        printf "{\"first_us\":%.0f,\"after_end_us\":%.0f,\"stray\":%d}\n", first, last, stray
    }' /tmp/probes /tmp/connections >/tmp/latencies.json
# A guest that its host starves may probe one too late, or stop so late that the next one's first probe cannot be told.
CLEAR='map(select(.first_us >= 0 and .stray == 0))'
check "nearly all were probed while they lived, and by no probe of another" \
    jq -es "length == $COUNT and ($CLEAR | length >= $COUNT * 4 / 5)" /tmp/latencies.json
report "RTR to first service probe on the wire, $COUNT connections: $(jq -cs "$CLEAR"' | map(.first_us / 1000) | sort |
    {clear: length, median_ms: .[length / 2 | floor], p90_ms: .[length * 9 / 10 | floor], min_ms: first, max_ms: last}' \
    /tmp/latencies.json)"
report "destroyed to last service probe: $(jq -cs 'map(.after_end_us / 1000) | sort |
    {none_after: map(select(. < 0)) | length, max_ms: last}' /tmp/latencies.json)"
