. "$SCENARIO/counters.sh"
counters >/tmp/counters
check "soft-RoCE has counted what it took" test "$(taken_by_soft_roce)" -ge 300
