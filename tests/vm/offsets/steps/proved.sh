. "$SCENARIO/lib.sh"
uname -r
check "flows runs" flows
check "what the programs read is right" says '.state == "attached" and .message == "attached"'
check "the agent's own queue pair is no connection" jq -es 'map(select(.type == "flow")) == []' /tmp/flows.json
doctor() {
    rpingmesh-agent doctor --transport verbs >/tmp/doctor
    grep -F "$1" /tmp/doctor && return 0
    cat /tmp/doctor
    return 1
}
check "doctor says so" doctor "read a queue pair of this program's own rightly"
