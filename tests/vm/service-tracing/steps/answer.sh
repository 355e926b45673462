. "$SCENARIO/lib.sh"
# This host's own connections are the other ends of host-b's; one side is enough to look at.
agent off
check "the agent of host-a runs" running agent
check "the controller knows its RNIC" wait_for 60 grep -q 'registered.*agent=host-a.*rnics=1' "$LOGS/controller.log"
