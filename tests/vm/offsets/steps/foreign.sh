. "$SCENARIO/lib.sh"
# The loaded ib_core is the kernel's own in truth, so its description fits: the agent finds that out.
check "with an ib_core from elsewhere: flows runs" flows with_foreign_core
check "the kernel's description was found to fit" says '.state == "attached" and .message == "attached"'

check "the device goes" rdma link delete "$RXE"
check "without a device: flows runs" flows
check "the kernel's own description is believed, and that nothing was compared is said" \
    says '.state == "attached" and (.message | contains("could not be compared"))'
check "without a device and with an ib_core from elsewhere: flows runs" flows with_foreign_core
check "nothing is followed that was not shown, and why is said" \
    says '.state == "unavailable" and (.message | contains("taint has an O") and contains("could not be compared"))'

# A tracer that runs finds the device that comes later.
rm -f "$LOGS/watch.log"
start watch rpingmesh-agent flows --watch --json
watched() {
    grep '^{' "$LOGS/watch.log" >/tmp/watched.json
    jq -es "map(select(.type == \"tracer\")) | last | $1" /tmp/watched.json && return 0
    tail -n 3 "$LOGS/watch.log"
    return 1
}
check "a tracer starts without a device" wait_for 30 watched '.message | contains("could not be compared")'
check "the device comes" rdma link add "$RXE" type rxe netdev "$INTERFACE"
check "what is read is compared then" wait_for 30 watched '.message == "attached"'
check "the tracer ends" stop watch
