pingpong() {
    ibv_ud_pingpong -d "$RXE" -g 1 -n 1000 -s 64 -p "$1" "$ADDRESS_host_a" >/tmp/pingpong
}

check "ibv_ud_pingpong with host-a, first run" wait_for 30 pingpong 18511
check "ibv_ud_pingpong with host-a, second run" wait_for 30 pingpong 18512
report "ibv_ud_pingpong, 64 bytes: $(grep iters /tmp/pingpong)"
