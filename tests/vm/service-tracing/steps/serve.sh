start rc-server ibv_rc_pingpong -d "$RXE" -g 1 -n 100000000 -p 18515
start second-server ibv_rc_pingpong -d "$RXE" -g 1 -e -n 100000000 -p 18516
check "the RC server waits" running rc-server
check "the second one waits, too" running second-server
start controller rpingmesh-controller run \
    --listen "$ADDRESS_host_a:7470" --store sqlite:/tmp/registry.db --tls-allow-plaintext true \
    --pinglist-parallel-paths 1 --pinglist-link-rate 0.0001
start analyzer rpingmesh-analyzer run \
    --listen "$ADDRESS_host_a:7471" --web "$ADDRESS_host_a:7472" --web-allow-remote true \
    --store sqlite:/tmp/journal.db --tls-allow-plaintext true
check "the analyzer answers" wait_for 30 http_get "http://$ADDRESS_host_a:7472/api/v1/paths"
check "the controller runs" running controller
