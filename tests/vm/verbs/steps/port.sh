. "$SCENARIO/trouble.sh"
down="$RXE/1: the port is down; bring its network interface up and check the cable"
check "the interface goes down" ip link set "$INTERFACE" down
check "ping names the port" wait_for 10 says 1 "$down" ping_self
check "a responder names it" says 1 "$down" rpingmesh-agent respond
check "doctor says that no port is usable" says 1 "PROBLEM devices: no RNIC port is usable" doctor
check "the interface comes up" ip link set "$INTERFACE" up
check "the port is usable again" wait_for 20 says 0 "1 usable RNIC port" doctor
