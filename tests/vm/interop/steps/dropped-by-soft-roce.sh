. "$SCENARIO/counters.sh"
read -r datagrams errors taken </tmp/counters
read -r datagrams_now errors_now taken_now <<EOF
$(counters)
EOF
check "20 damaged packets reached this node's soft-RoCE" test "$((datagrams_now - datagrams))" -ge 20
check "UDP found no fault in them" test "$errors_now" = "$errors"
check "soft-RoCE took none" test "$taken_now" = "$taken"
report "damaged: $((datagrams_now - datagrams)) datagrams passed UDP, $((taken_now - taken)) passed soft-RoCE's ICRC check"
