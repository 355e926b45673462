. "$SCENARIO/lib.sh"
# Nobody has this address; the queue pair exists all the same, and says where it leads. A neighbour that does not answer
# must not keep the kernel from making it.
NOBODY=10.77.0.99
ip neigh replace "$NOBODY" lladdr 02:00:00:00:00:99 dev "$INTERFACE" nud permanent
capture "dst host $NOBODY"
mkfifo /tmp/lost
service lost sh -c "exec qp-churn $RXE 1 $NOBODY hold 1 </tmp/lost"
exec 4>/tmp/lost
check "a service connects to an address that no agent has registered" wait_for 30 grep -q ready "$LOGS/lost.log"
check "its connection is seen" wait_for 20 seen "any(.type == \"live\" and .destination_gid == \"$NOBODY\")"
check "the agent lists its destination as unknown" wait_for 30 grep -q "no agent has registered.*$NOBODY" "$LOGS/agent.log"
exec 4>&-
check "its end is seen" wait_for 20 seen 'map(select(.type == "ended")) | length >= 3'
check "the capture ends" stop capture
check "not one packet went there" sh -c "! tcpdump -nr /tmp/capture 2>/dev/null | grep ."
check "and no path to it" paths_show 120s "all(.target.gid != \"$NOBODY\")"
