. "$SCENARIO/trouble.sh"
can_probe() {
    rpingmesh-agent doctor --json >/tmp/doctor &&
        jq -es 'last == {"type": "verdict", "can_probe": true, "problems": 0}' /tmp/doctor && return 0
    cat /tmp/doctor
    return 1
}
check "doctor finds that this host can probe" wait_for 20 can_probe
check "nobody answers on a QPN that is none" says 1 "nothing came back from $ADDRESS_host%0x11" ping_self
