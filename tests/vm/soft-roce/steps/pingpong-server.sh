# What host-b measures against: rdma-core's example, three times, and a responder.
start pingpong sh -c '
    ibv_ud_pingpong -d "$RXE" -g 1 -n 1000 -s 64 -p 18511
    ibv_ud_pingpong -d "$RXE" -g 1 -n 1000 -s 64 -p 18512
    ibv_ud_pingpong -d "$RXE" -g 1 -n 1000 -s 64 -p 18513 -e'
check "ibv_ud_pingpong waits" running pingpong
start respond rpingmesh-agent respond --transport verbs --tracing off --gids "$ADDRESS_host_a"
responder() {
    grep '^[0-9a-f.:]*%' "$LOGS/respond.log" | tail -n 1 | grep .
}
check "a responder runs" wait_for 20 responder
mkdir -p /tmp/public
responder >/tmp/public/responder
start httpd busybox httpd -f -p 7480 -h /tmp/public
check "its name is published" wait_for 10 http_get http://localhost:7480/responder
