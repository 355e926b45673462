. "$SCENARIO/agent.sh"
mkdir -p /tmp/spool
start_agent
check "the agent runs" running agent
