. "$SCENARIO/lib.sh"
MODULES="nvme_rdma nvmet_rdma rdma_rxe rdma_ucm rdma_cm iw_cm ib_cm ib_umad ib_uverbs ib_uverbs_support ib_core"

# Modules that are not there are passed over; in the end ib_core must be gone.
unload() {
    rdma link delete "$RXE" || true
    for module in $MODULES; do
        rmmod "$module" 2>/dev/null || true
    done
    [ ! -e /sys/module/ib_core ]
}

load() {
    modprobe rdma_rxe && modprobe ib_uverbs && rdma link add "$RXE" type rxe netdev "$INTERFACE"
}

# soft-RoCE waits for whoever has its device open, and tells nobody: so the agent makes room. The tracer stays.
check "the agent ends" stop agent
check "ib_core is unloaded" wait_for 30 unload
check "the tracer says that it waits" wait_for 20 seen 'last | .type == "tracer" and .state == "waiting"'
rpingmesh-agent flows --json >/tmp/flows.json
check "so does one that starts now" jq -es 'length == 1 and first.state == "waiting"' /tmp/flows.json
agent on
check "an agent that starts now waits, too" wait_for 60 grep -q 'waiting for ib_core' "$LOGS/agent.log"
check "ib_core is loaded again" load
check "the tracer attaches again" wait_for 60 seen 'map(select(.type == "tracer")) | last | .state == "attached"'
mkfifo /tmp/again
service again sh -c "exec qp-churn $RXE 1 $ADDRESS_host_a hold 1 </tmp/again"
exec 4>/tmp/again
check "a connection after the reload is seen" wait_for 30 seen 'any(.type == "live" and .service == "again.service")'
check "probes for it reach the analyzer" wait_for 90 probed again.service
exec 4>&-
check "the tracer ends" stop watch
check "the reload is counted" sh -c "tail -n 1 $LOGS/watch.log | jq -e '.reattached == 1'"
