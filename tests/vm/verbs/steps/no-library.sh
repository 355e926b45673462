. "$SCENARIO/trouble.sh"
# The loader finds this one first, and it is no library.
mkdir -p /tmp/no-library
echo "no library" >/tmp/no-library/libibverbs.so.1
without() {
    LD_LIBRARY_PATH=/tmp/no-library "$@"
}
missing="cannot load libibverbs.so.1"
check "ping names the library and its packages" says 1 "install rdma-core's libibverbs: Debian libibverbs1 and ibverbs-providers" \
    without ping_self
check "an agent that is told to use verbs does not start" says 1 "$missing" \
    without rpingmesh-agent run --tor tor0 --state-dir /tmp/state
check "doctor finds it" says 1 "PROBLEM libibverbs: $missing" without doctor
