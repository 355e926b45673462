. "$SCENARIO/lib.sh"
# The last step: a kernel is not unlocked again.
SECURITY=/sys/kernel/security
[ -e "$SECURITY/lsm" ] || mount -t securityfs securityfs "$SECURITY"
lock() {
    echo "$1" >"$SECURITY/lockdown"
}
says() {
    rpingmesh-agent flows --json | tail -n 1 >/tmp/tracer.json
    jq -e "$1" /tmp/tracer.json && return 0
    cat /tmp/tracer.json
    return 1
}
# What the kernel was built with and started with: lockdown,capability,…
modules=$(cat "$SECURITY/lsm")
check "the kernel lists its security modules" test -n "$modules"
case ",$modules," in
    *,lockdown,*)
        check "the kernel is locked down for integrity" lock integrity
        check "the tracer attaches all the same" says '.state == "attached"'
        check "the kernel is locked down for confidentiality" lock confidentiality
        check "the tracer says so" says '.state == "unavailable" and (.message | contains("locked down (confidentiality)"))'
        ;;
    *)
        # A kernel without SECURITY_LOCKDOWN_LSM, such as NixOS': nothing can lock it, and nothing keeps the tracer out.
        report "the kernel has no lockdown; its security modules: $modules"
        check "a kernel without lockdown has no file for it" test ! -e "$SECURITY/lockdown"
        check "the tracer attaches" says '.state == "attached"'
        ;;
esac
