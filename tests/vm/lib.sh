# What scenario steps may use beyond POSIX; tests/vm/README.md documents it. Sourced by step.sh.

LOGS=${LOGS:-/run/logs}
mkdir -p "$LOGS"
failed=0

# check NAME CMD...: one verdict. A failed check does not end the step.
check() {
    check_name=$1
    shift
    if check_output=$("$@" 2>&1); then
        echo "ok - $check_name"
    else
        failed=1
        printf '%s\n' "$check_output" | sed 's/^/# /'
        echo "not ok - $check_name"
    fi
}

# report TEXT...: something measured, shown at the end, never asserted.
report() {
    echo "report - $*"
}

# wait_for SECONDS CMD...: repeats CMD until it succeeds, $PATIENCE times as long where emulation makes everything slow. What
# the last attempt said comes out when time is up.
wait_for() {
    wait_end=$(($(date +%s) + $1 * ${PATIENCE:-1}))
    shift
    until wait_output=$("$@" 2>&1); do
        if [ "$(date +%s)" -ge "$wait_end" ]; then
            printf 'not in time: %s\n%s\n' "$*" "$wait_output"
            return 1
        fi
        sleep 0.2
    done
    printf '%s\n' "$wait_output"
}

# start NAME CMD...: a program that outlives the step; its output goes to $LOGS/NAME.log.
start() {
    start_name=$1
    shift
    setsid "$@" </dev/null >>"$LOGS/$start_name.log" 2>&1 &
    echo $! >"$LOGS/$start_name.pid"
}

# running NAME: whether a started program is alive.
running() {
    ! gone "$(cat "$LOGS/$1.pid")" || {
        tail -n 5 "$LOGS/$1.log"
        return 1
    }
}

# stop NAME: SIGTERM to a started program, and waits up to 10 s for its end.
stop() {
    stop_pid=$(cat "$LOGS/$1.pid")
    kill "$stop_pid" || return 1
    wait_for 10 gone "$stop_pid"
}

# A process that has ended but whose parent has not looked is gone, too.
gone() {
    ! kill -0 "$1" 2>/dev/null || grep -q '^State:[[:space:]]*Z' "/proc/$1/status"
}

# milliseconds: time since boot, for measuring.
milliseconds() {
    awk '{ printf "%d", $1 * 1000 }' /proc/uptime
}

# http_get URL: the body on standard output.
http_get() {
    if command -v curl >/dev/null; then
        curl -fsS --max-time 5 "$1"
    else
        wget -q -T 5 -O - "$1"
    fi
}
