start rc-server ibv_rc_pingpong -d "$RXE" -g 1 -n 100 -p 18515
start ud-server ibv_ud_pingpong -d "$RXE" -g 1 -n 100 -p 18516 -s 1024
check "the RC server waits" running rc-server
check "the UD server waits" running ud-server
