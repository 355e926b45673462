. "$SCENARIO/lib.sh"
disconnect_disk() {
    for controller in /sys/class/nvme/nvme*; do
        echo 1 >"$controller/delete_controller" || return 1
    done
}
check "the kernel disconnects from the disk" disconnect_disk
check "the end of its connections is seen" wait_for 60 seen 'map(select(.service == "kernel/nvme_rdma") | .qpn) as $qpns
    | map(select(.type == "ended") | .qpn) as $ended | ($qpns | length > 0) and ($qpns - $ended == [])'
check "they are probed no longer" wait_for 30 unprobed kernel/nvme_rdma
