. "$SCENARIO/lib.sh"
# Alternating, so that what changes in the guest meanwhile meets both.
for round in 1 2 3; do
    without=$(qp-churn "$RXE" 1 "$ADDRESS_host_a" modify 2000)
    watch
    wait_for 60 seen 'any(.type == "tracer" and .state == "attached")' >/dev/null
    with=$(qp-churn "$RXE" 1 "$ADDRESS_host_a" modify 2000)
    stop watch
    report "modify_qp, ns a call, round $round: without $without, with the tracer $with"
done
check "both were measured" sh -c "echo '$without $with' | jq -es 'all(.p50_ns > 0)'"
