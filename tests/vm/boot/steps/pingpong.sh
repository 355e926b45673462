pingpong() {
    "$@" >/tmp/pingpong 2>&1
}

start capture tcpdump --immediate-mode -s 2048 -B 8192 -U -i "$INTERFACE" -c 20 -w /tmp/capture udp port 4791
check "the capture runs" wait_for 10 test -s /tmp/capture
check "RC ping-pong with host-a" wait_for 40 pingpong ibv_rc_pingpong -d "$RXE" -g 1 -n 100 -p 18515 "$ADDRESS_host_a"
report "ibv_rc_pingpong: $(grep iters /tmp/pingpong)"
check "UD ping-pong with host-a" wait_for 40 pingpong ibv_ud_pingpong -d "$RXE" -g 1 -n 100 -p 18516 -s 1024 "$ADDRESS_host_a"
report "ibv_ud_pingpong: $(grep iters /tmp/pingpong)"
check "the messages are UDP to port 4791" wait_for 10 sh -c 'tcpdump -nr /tmp/capture | grep -F .4791:'
