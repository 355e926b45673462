. "$SCENARIO/lib.sh"
# What the tracer adds to modify_qp: medians of 2000 rounds of four calls, with and without it in turn, so that what changes
# in the guest meanwhile meets both. Beside them what the kernel itself says that the two programs of a call take.
ROUNDS=2000
measure() {
    qp-churn "$RXE" 1 "$ADDRESS_host_a" modify "$ROUNDS"
}
# programs: nanoseconds in both programs of one call. Those of modify_qp ran most often.
programs() {
    cat /proc/"$(cat "$LOGS/watch.pid")"/fdinfo/* 2>/dev/null | awk '
        /^prog_id:/ { id = $2 } /^run_time_ns:/ { time[id] = $2 } /^run_cnt:/ { runs[id] = $2 }
        END {
            for (id in runs) if (runs[id] > most) most = runs[id]
            for (id in runs) if (runs[id] == most && most > 0) sum += time[id] / runs[id]
            printf "%.0f", sum
        }'
}
stats() {
    echo "$1" >/proc/sys/kernel/bpf_stats_enabled
}
measure >/dev/null
for round in 1 2 3 4 5; do
    without=$(measure)
    watch
    wait_for 60 seen 'any(.type == "tracer" and .state == "attached")' >/dev/null
    with=$(measure)
    # Once more, because the kernel's own look at its clock costs time, too.
    stats 1
    measure >/dev/null
    inside=$(programs)
    stats 0
    stop watch
    echo "{\"without\":$without,\"with\":$with,\"programs\":$inside}"
done >/tmp/cost.json
cat /tmp/cost.json
check "each round was measured" jq -es 'length == 5 and all(.without.p50_ns > 0 and .with.p50_ns > 0 and .programs > 0)' /tmp/cost.json
report "added to modify_qp, ns: $(jq -cs '{added: map(.with.p50_ns - .without.p50_ns) | sort,
    without: map(.without.p50_ns) | sort, spread_without_p10_p90: [(map(.without.p10_ns) | min), (map(.without.p90_ns) | max)],
    with: map(.with.p50_ns) | sort, spread_with_p10_p90: [(map(.with.p10_ns) | min), (map(.with.p90_ns) | max)],
    inside_the_programs: map(.programs) | sort}' /tmp/cost.json)"
