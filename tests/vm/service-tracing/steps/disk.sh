. "$SCENARIO/lib.sh"
. "$SCENARIO/disk.sh"
check "the kernel offers a disk over RDMA" offer_disk
