. "$SCENARIO/lib.sh"
# What the tracer says where something is missing. It goes on listing.
nobody() {
    setpriv --reuid 65534 --regid 65534 --clear-groups "$@"
}
# flows CMD...: what CMD runs is `flows --json`; its line on the tracer is /tmp/tracer.json.
flows() {
    "$@" rpingmesh-agent flows --json >/tmp/flows.json || return 1
    tail -n 1 /tmp/flows.json >/tmp/tracer.json
}
says() {
    jq -e "$1" /tmp/tracer.json && return 0
    cat /tmp/tracer.json
    return 1
}
mkfifo /tmp/held
start held sh -c "exec qp-churn $RXE 1 $ADDRESS_host_a hold 3 </tmp/held"
exec 4>/tmp/held
check "three connections are up" wait_for 30 grep -q ready "$LOGS/held.log"

check "without privilege: flows runs" flows nobody
check "it says which capabilities are missing" \
    says '.state == "unavailable" and (.message | contains("CAP_PERFMON and CAP_BPF"))'
check "it lists what the kernel lists, and marks what is missing" jq -es 'map(select(.comm == "qp-churn" and .state == "RTS"
    and .missing == ["source_gid", "destination_gid"])) | length == 3' /tmp/flows.json

check "with CAP_BPF alone: flows runs" flows nobody --inh-caps +bpf --ambient-caps +bpf
check "it says what else it needs" says '.state == "unavailable" and (.message | contains("CAP_PERFMON"))'

# Debian's kernels start with 3, which Linux itself does not know: then perf_event_open asks for CAP_SYS_ADMIN.
paranoid() {
    echo "$1" >/proc/sys/kernel/perf_event_paranoid
}
both="--inh-caps +bpf,+perfmon --ambient-caps +bpf,+perfmon"
paranoid 3
check "with CAP_BPF and CAP_PERFMON where Debian asks for more: flows runs" flows nobody $both
check "it says what the kernel asks for" says '.state == "unavailable" and (.message | contains("kernel.perf_event_paranoid is 3"))'
paranoid 2
check "with CAP_BPF and CAP_PERFMON: flows runs" flows nobody $both
check "it attaches, and completes connections from before" says '.state == "attached" and .completes_listing'
check "they have their GIDs" jq -es 'map(select(.comm == "qp-churn" and .live and .source_gid != null)) | length == 3' /tmp/flows.json

# with_btf SOURCE CMD...: with SOURCE in the place of the kernel's type information, for CMD alone.
with_btf() {
    btf_source=$1
    shift
    unshare -m sh -c 'mount -o bind "$0" /sys/kernel/btf && exec "$@"' "$btf_source" "$@"
}
mkdir -p /tmp/btf-none /tmp/btf-garbage /tmp/btf-half
head -c 65536 /dev/urandom >/tmp/btf-garbage/vmlinux
cp /sys/kernel/btf/vmlinux /tmp/btf-half/vmlinux
check "without BTF: flows runs" flows with_btf /tmp/btf-none
check "it names the file" says '.state == "unavailable" and (.message | contains("/sys/kernel/btf/vmlinux"))'
check "with BTF that is none: flows runs" flows with_btf /tmp/btf-garbage
check "it says so" says '.state == "unavailable" and (.message | contains("offsets"))'
check "without ib_core's BTF: flows runs" flows with_btf /tmp/btf-half
check "it finds all in the kernel's own, or names what it misses" \
    says '.state == "attached" or (.message | contains("structure"))'
refused() {
    ! with_btf /tmp/btf-none rpingmesh-agent flows --json --tracing on
}
check "where tracing is demanded, flows fails" refused
exec 4>&-
