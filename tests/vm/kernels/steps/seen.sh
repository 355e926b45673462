# Either the tracer follows, and then it sees all there is; or it says why not, and lists. Nothing in between.
tracer() {
    jq -cs 'map(select(.type == "tracer")) | last' "$1"
}
# hold NAME: a connection of its own for that program.
hold() {
    mkfifo "/tmp/$1.hold"
    start "$1" sh -c "exec qp-churn $RXE 1 $ADDRESS_host hold 1 </tmp/$1.hold"
}
hold early
exec 4>/tmp/early.hold
check "a connection is up before the tracer" wait_for 60 grep -q ready "$LOGS/early.log"
start watch rpingmesh-agent flows --watch --json
watched() {
    grep '^{' "$LOGS/watch.log" >/tmp/watched.json
    jq -es "$1" /tmp/watched.json && return 0
    tail -n 3 "$LOGS/watch.log"
    return 1
}
check "the tracer says what it does" wait_for 60 watched 'any(.type == "tracer" and .state != "waiting")'
check "the connection from before is listed" wait_for 60 watched 'any(.type == "flow" and .comm == "qp-churn")'
hold late
exec 5>/tmp/late.hold
check "a connection is up after it" wait_for 60 grep -q ready "$LOGS/late.log"
late=$(cat "$LOGS/late.pid")
# Queue pairs are created by a function that cannot be followed, before Linux 5.15.
case $(uname -r) in
    5.10.*) lacks='["creations"]' ;;
    *) lacks=null ;;
esac
state=$(tracer /tmp/watched.json | jq -r .state)
complete() {
    rpingmesh-agent flows --json >/tmp/flows.json &&
        jq -es 'map(select(.type == "flow" and .comm == "qp-churn")) | length == 2 and all('"$1"')' /tmp/flows.json && return 0
    cat /tmp/flows.json
    return 1
}
if [ "$state" = attached ]; then
    check "the new one is seen as it connects" wait_for 30 watched \
        "any(.type == \"live\" and .pid == $late and .source_gid != null and .destination_gid != null)"
    check "nothing is unseen but what this kernel lacks" watched "map(select(.type == \"tracer\")) | last | .unseen == $lacks"
    check "who starts now lists both, complete" complete '.live and .missing == null'
    exec 5>&-
    check "its end is seen, and not that of the other" wait_for 30 watched \
        "(map(select(.type == \"live\" and .pid == $late)) | last | .qpn) as \$qpn | map(select(.type == \"ended\")) | map(.qpn) == [\$qpn]"
else
    check "why it does not follow is said" watched 'map(select(.type == "tracer")) | last | .message | length > 20'
    check "who starts now lists both, and marks what is missing" complete '.missing == ["source_gid", "destination_gid"]'
    exec 5>&-
fi
exec 4>&-
check "the tracer ends" stop watch
tracer /tmp/watched.json >/tmp/tracer.json
report "| $(uname -r) | $(jq -r '"\(.state) | \(if .unseen then .unseen | join(", ") else "nothing" end) | \(.message)"' /tmp/tracer.json) |"
