# Sourced by the steps that take something away from this host and ask the agent what it says.
export RPINGMESH_TRACING=off RPINGMESH_TRANSPORT=verbs

ping_self() {
    rpingmesh-agent ping "$ADDRESS_host%0x11" --count 1 --probe-timeout 1s
}

doctor() {
    rpingmesh-agent doctor
}

# unprivileged ARGUMENTS...: the agent as a user without any capability.
unprivileged() {
    busybox start-stop-daemon -S -q -c 100:100 -x "$(command -v rpingmesh-agent)" -- "$@"
}

# says STATUS TEXT CMD...: CMD ends with that status, and a line of what it writes contains TEXT.
says() {
    says_status=$1
    says_text=$2
    shift 2
    "$@" >/tmp/said 2>&1
    says_ended=$?
    [ "$says_ended" = "$says_status" ] && grep -qF -- "$says_text" /tmp/said && return 0
    printf 'status %s, expected %s and "%s":\n' "$says_ended" "$says_status" "$says_text"
    cat /tmp/said
    return 1
}
