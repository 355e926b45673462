start rc-server ibv_rc_pingpong -d "$RXE" -g 1 -n 100000000 -p 18515
start bw-server ib_write_bw -d "$RXE" -x 1 -F --run_infinitely -p 18516
check "the RC server waits" running rc-server
check "the bandwidth server waits" running bw-server
