. "$SCENARIO/lib.sh"
# The agent follows, too: both tracers get every event.
COUNT=2000
watch
check "the tracer attaches" wait_for 60 seen 'any(.type == "tracer" and .state == "attached")'
qp-churn "$RXE" 1 "$ADDRESS_host_a" loop "$COUNT" >/tmp/churn.json
report "queue pairs created, connected and destroyed with two tracers attached: $(cat /tmp/churn.json)"
ended() {
    [ "$(grep -c '"type":"ended"' "$LOGS/watch.log")" -eq "$COUNT" ]
}
check "each of $COUNT connections is seen to end" wait_for 180 ended
check "each is seen to go up" test "$(grep -c '"type":"live".*"state":"RTR"' "$LOGS/watch.log")" -eq "$COUNT"
stop watch
tail -n 1 "$LOGS/watch.log" >/tmp/tracer.json
check "every change is an event: create, INIT, RTR, RTS, destroy" jq -e ".events >= 5 * $COUNT" /tmp/tracer.json
check "no event is lost" jq -e '.lost == 0' /tmp/tracer.json
report "the tracer's counters: $(jq -c '{events, lost_ring_full, lost_calls_full, read_failed}' /tmp/tracer.json)"
check "the agent has lost none either" sh -c "! grep 'events of queue pairs were lost' $LOGS/agent.log"
check "the agent ends" stop agent
qp-churn "$RXE" 1 "$ADDRESS_host_a" loop "$COUNT" >/tmp/churn.json
report "the same with none attached: $(cat /tmp/churn.json)"
