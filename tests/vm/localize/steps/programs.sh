. "$SCENARIO/fabric.sh"
# Without a topology: what lies between the ToRs is learnt from traces.
start controller rpingmesh-controller run --listen 0.0.0.0:7470 --store sqlite:/tmp/registry.db \
    --tls-allow-plaintext true --pinglist-parallel-paths 4 --pinglist-link-rate 8 \
    --pinglist-tor-mesh-rate 2
start analyzer rpingmesh-analyzer run --listen 0.0.0.0:7471 --web 127.0.0.1:7472 --store sqlite:/tmp/journal.db \
    --tls-allow-plaintext true
check "the analyzer answers" wait_for 30 http_get "$API/api/v1/status"
check "the controller runs" running controller
# By its path: where `setsid` is busybox's it would take busybox's own `ip`, which knows no namespaces.
ip=$(command -v ip)
# A probe of a guest that is starved by its host comes back late, but it comes back: 500 ms would call that loss.
for number in $HOSTS; do
    mkdir -p "/tmp/state$number"
    start "agent$number" "$ip" netns exec "host$number" rpingmesh-agent run --transport userspace --tracing off \
        --userspace-addresses "$(host_address "$number")" --host "host$number" --agent-id "host$number" \
        --tor "tor$(tor_of "$number")" --state-dir "/tmp/state$number" --probe-timeout 2s --tls-allow-plaintext true \
        --controller "http://10.79.$number.1:7470" --analyzer "http://10.79.$number.1:7471" \
        --path-trace-mode on --path-trace-interval 10s --path-trace-rate 20 --path-trace-switch-rate 200
    check "agent $number runs" running "agent$number"
done
