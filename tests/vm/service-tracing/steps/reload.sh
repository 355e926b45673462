. "$SCENARIO/lib.sh"
MODULES="rdma_rxe rdma_ucm rdma_cm iw_cm ib_cm ib_umad ib_uverbs ib_core"

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

check "ib_core is unloaded" wait_for 20 unload
check "the tracer says that it waits" wait_for 20 seen 'last | .type == "tracer" and .state == "waiting"'
check "ib_core is loaded again" load
check "the tracer attaches again" wait_for 60 seen 'map(select(.type == "tracer")) | last | .state == "attached"'
qp-churn "$RXE" 1 "$ADDRESS_host_a" connect 1 >/tmp/connect.json
check "a connection after the reload is seen" wait_for 20 seen 'map(select(.type == "live" and .comm == "qp-churn")) | length > 0'
check "the reload is counted" sh -c "kill \$(cat $LOGS/watch.pid); sleep 1; tail -n 1 $LOGS/watch.log | jq -e '.reattached == 1'"
