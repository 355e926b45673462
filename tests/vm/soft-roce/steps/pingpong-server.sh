# Two runs: the client's first one fills caches.
start pingpong sh -c 'for run in 1 2; do ibv_ud_pingpong -d "$RXE" -g 1 -n 1000 -s 64 -p 1851$run; done'
check "ibv_ud_pingpong waits" running pingpong
