. "$SCENARIO/lib.sh"
. "$SCENARIO/disk.sh"
check "the kernel connects to the other host's disk" connect_disk
check "its connections are seen, with GIDs and the module's name" wait_for 60 seen "map(select(.type == \"live\" and
    .service == \"kernel/nvme_rdma\" and .comm == \"nvme_rdma\" and .pid == null and .origin == \"created\"
    and .state == \"RTS\" and .source_gid == \"$ADDRESS_host_b\" and .destination_gid == \"$ADDRESS_host_a\"))
    | map(.qpn) | unique | length >= 2"
check "who starts now lists them with all that" listed nvme_rdma
check "probes for them reach the analyzer" wait_for 60 probed kernel/nvme_rdma
