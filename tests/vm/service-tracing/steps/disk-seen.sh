. "$SCENARIO/lib.sh"
. "$SCENARIO/disk.sh"
check "the other ends are listed as the target module's" listed nvmet_rdma
