. "$SCENARIO/lib.sh"
agent on
check "the agent attaches" wait_for 60 grep -q 'service tracing.*attached' "$LOGS/agent.log"
check "probes for the service from before reach the analyzer, tagged with its name" wait_for 60 probed early.service
check "there are none for anything else" paths_show 20s 'all(.service == "early.service" and .source.host == "host-b")'
report "probes for a service from before: $(jq -c '.paths[] | {service, source_port, sent, lost, rtt_p50_ns: .network_rtt.p50_ns}' /tmp/paths.json)"
