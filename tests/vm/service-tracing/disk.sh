# Sourced by the steps: a disk that the kernels of both hosts share over RDMA (NVMe-oF), without any program.

DISK=nqn.2026-12.test.rpingmesh:disk

# offer_disk: this host's kernel offers a disk of nothing. The files are those of Linux drivers/nvme/target/configfs.c.
offer_disk() {
    modprobe null_blk && modprobe nvmet_rdma || return 1
    offered=/sys/kernel/config
    [ -d "$offered/nvmet" ] || mount -t configfs configfs "$offered" || return 1
    mkdir "$offered/nvmet/subsystems/$DISK" "$offered/nvmet/subsystems/$DISK/namespaces/1" "$offered/nvmet/ports/1" || return 1
    set_all "$offered/nvmet/subsystems/$DISK" attr_allow_any_host=1 namespaces/1/device_path=/dev/nullb0 namespaces/1/enable=1 &&
        set_all "$offered/nvmet/ports/1" addr_trtype=rdma addr_adrfam=ipv4 "addr_traddr=$ADDRESS_host_a" addr_trsvcid=4420 &&
        ln -s "$offered/nvmet/subsystems/$DISK" "$offered/nvmet/ports/1/subsystems/$DISK"
}

# set_all FOLDER FILE=VALUE...
set_all() {
    folder=$1
    shift
    for setting; do
        printf %s "${setting#*=}" >"$folder/${setting%%=*}" || return 1
    done
}

# connect_disk: this host's kernel connects to it.
connect_disk() {
    modprobe nvme_rdma || return 1
    printf %s "transport=rdma,traddr=$ADDRESS_host_a,trsvcid=4420,nqn=$DISK,nr_io_queues=1,queue_size=16,keep_alive_tmo=120" \
        >/dev/nvme-fabrics || return 1
    ls /sys/class/nvme | grep .
}

# listed MODULE: whether a fresh listing has connections of that kernel module, complete.
listed() {
    rpingmesh-agent flows --json >/tmp/modules.json || return 1
    jq -es --arg module "$1" 'map(select(.type == "flow" and .service == "kernel/" + $module))
        | length >= 2 and all(.live and .comm == $module and .pid == null and .missing == null)' /tmp/modules.json && return 0
    cat /tmp/modules.json
    return 1
}
