# Runs as root in a Debian guest: installs the packages, starts the units, removes the packages. Lines `ok - …` and
# `not ok - …` on the console are the verdicts; tests/vm/README.md documents the functions.
export PATH=/usr/sbin:/usr/bin HOME=/root DEBIAN_FRONTEND=noninteractive
. /packages/lib.sh

installed() {
    # The guest's system was unpacked without dpkg, which hence knows of no other package.
    dpkg --install --force-depends /packages/*.deb
}
idle() {
    for role in controller analyzer agent; do
        if systemctl --quiet is-active "rpingmesh-$role" || systemctl --quiet is-enabled "rpingmesh-$role"; then
            echo "rpingmesh-$role is active or enabled"
            return 1
        fi
    done
}
main_pid() {
    systemctl show --property MainPID --value "rpingmesh-$1"
}
without_root() {
    uid=$(awk '$1 == "Uid:" { print $2 }' "/proc/$(main_pid "$1")/status")
    [ -n "$uid" ] && [ "$uid" -ne 0 ] || { echo "uid $uid"; return 1; }
}
# capabilities ROLE MASK: exactly these, in hexadecimal as in /proc/PID/status.
capabilities() {
    mask=$(awk '$1 == "CapEff:" { print $2 }' "/proc/$(main_pid "$1")/status")
    [ "$mask" = "$2" ] || { echo "CapEff is $mask"; return 1; }
}
answers() {
    curl -fsS --max-time 5 "http://127.0.0.1:7472/api/v1/$1"
}
agent_is_known() {
    answers agents | grep -q '"debian"'
}
stops() {
    begun=$(milliseconds)
    systemctl stop "rpingmesh-$1" || return 1
    took=$(($(milliseconds) - begun))
    result=$(systemctl show --property Result --value "rpingmesh-$1")
    [ "$result" = success ] || { echo "result $result after $took ms"; return 1; }
}

# Firmware and kernel may have left a line without its end on the console.
echo
check "dpkg installs the packages" installed
check "nothing is enabled or started by that" idle
sed -i '1i transport = "userspace"\nuserspace_addresses = ["127.0.0.1"]' /etc/rpingmesh/agent.toml
for role in controller analyzer agent; do
    check "$role: the unit starts" systemctl start "rpingmesh-$role"
    check "$role: it runs without root" without_root "$role"
done
check "controller: no capability" capabilities controller 0000000000000000
check "analyzer: no capability" capabilities analyzer 0000000000000000
check "agent: CAP_NET_RAW only" capabilities agent 0000000000002000
check "the analyzer answers" wait_for 60 answers paths
check "the agent uploads to the analyzer" wait_for 60 agent_is_known

install -D -m 644 /usr/share/rpingmesh-agent/tracing.conf /etc/systemd/system/rpingmesh-agent.service.d/tracing.conf
systemctl daemon-reload
check "agent: restarts with the tracing drop-in" systemctl restart rpingmesh-agent
check "agent: CAP_NET_RAW, CAP_PERFMON, CAP_BPF" capabilities agent 000000c000002000
for role in agent analyzer controller; do
    check "$role: stops cleanly" stops "$role"
done
check "dpkg removes the packages" dpkg --remove rpingmesh-agent rpingmesh-analyzer rpingmesh-controller
check "the configuration stays until the purge" test -f /etc/rpingmesh/agent.toml
check "dpkg purges them" dpkg --purge rpingmesh-agent rpingmesh-analyzer rpingmesh-controller
check "nothing is left in /etc" sh -c '! ls /etc/rpingmesh/*'
if [ "$failed" != 0 ]; then
    for role in controller analyzer agent; do
        journalctl --no-pager --lines 30 --unit "rpingmesh-$role"
    done
fi
echo "end - $failed"
