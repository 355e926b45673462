. "$SCENARIO/trouble.sh"
check "the device goes" rdma link delete "$RXE"
check "ping says what to look at" says 1 "libibverbs lists no device: is the RNIC's driver loaded" ping_self
check "doctor finds it" says 1 "PROBLEM devices: there is no RDMA device" doctor

# An agent that is started before the driver waits for it.
mkdir -p /tmp/state
start agent rpingmesh-agent run --tor tor0 --state-dir /tmp/state \
    --controller http://127.0.0.1:1 --analyzer http://127.0.0.1:1
logged() {
    grep -- "$1" "$LOGS/agent.log" && return 0
    tail -n 5 "$LOGS/agent.log"
    return 1
}
check "an agent without a device says so and goes on" wait_for 20 logged "no RNIC can be used, looking again"
check "the device comes" rdma link add "$RXE" type rxe netdev "$INTERFACE"
check "the agent opens an endpoint on it" wait_for 30 logged "endpoint is open"
check "the agent stops" stop agent
