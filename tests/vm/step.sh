#!/bin/sh
# step.sh SCENARIO_FOLDER STEP: runs one step of a scenario on this node. Status 0: every check passed.
# The caller provides NODE, INTERFACE, RXE (where the node has a device) and ADDRESS_<node> in the environment.
set -u
SCENARIO=$1
STEP=$2
. "$(dirname "$0")/lib.sh"
. "$SCENARIO/steps/$STEP.sh"
exit "$failed"
