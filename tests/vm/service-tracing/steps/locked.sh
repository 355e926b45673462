. "$SCENARIO/lib.sh"
# The last step: a kernel is not unlocked again.
[ -e /sys/kernel/security/lockdown ] || mount -t securityfs securityfs /sys/kernel/security
lock() {
    echo "$1" >/sys/kernel/security/lockdown
}
says() {
    rpingmesh-agent flows --json | tail -n 1 >/tmp/tracer.json
    jq -e "$1" /tmp/tracer.json && return 0
    cat /tmp/tracer.json
    return 1
}
check "the kernel is locked down for integrity" lock integrity
check "the tracer attaches all the same" says '.state == "attached"'
check "the kernel is locked down for confidentiality" lock confidentiality
check "the tracer says so" says '.state == "unavailable" and (.message | contains("locked down (confidentiality)"))'
