COUNT=1000
mkfifo /tmp/hold
start hold sh -c "exec qp-churn $RXE 1 $ADDRESS_host_a hold $COUNT </tmp/hold"
exec 4>/tmp/hold
check "$COUNT connections are up" wait_for 60 grep -q ready "$LOGS/hold.log"
flows() {
    rpingmesh-agent flows --json >/tmp/flows.json
}
check "flows runs" flows
check "all of them are complete in its table" jq -es --argjson count "$COUNT" \
    'map(select(.type == "flow" and .live and .source_gid != null and .comm == "qp-churn")) | length == $count' /tmp/flows.json
took() {
    jq -cs 'last | {attached_ms: (.attached_after_ns / 1e6 | round), complete_ms: (.complete_after_ns / 1e6 | round)}' /tmp/flows.json
}
report "start to complete table with $COUNT connections from before: $(took)"
exec 4>&-
check "they are gone" wait_for 60 sh -c "rdma resource show qp | grep -c qp-churn | grep -qx 0"
# The same with nothing there: what attaching alone takes.
flows
report "start to complete table with none: $(took)"
