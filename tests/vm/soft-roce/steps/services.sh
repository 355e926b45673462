# Two parallel paths between two ToRs: eight 5-tuples by Eq. (1), spread over the ToR's RNICs. 20 probes/s would be due on
# two uplinks; emulated guests get half.
start controller rpingmesh-controller run \
    --listen "$ADDRESS_monitor:7470" --store sqlite:/tmp/registry.db --tls-allow-plaintext true \
    --pinglist-parallel-paths 2 --pinglist-link-rate 5
start analyzer rpingmesh-analyzer run \
    --listen "$ADDRESS_monitor:7471" --web "$ADDRESS_monitor:7472" --web-allow-remote true \
    --store sqlite:/tmp/journal.db --tls-allow-plaintext true
check "the analyzer answers" wait_for 30 http_get "http://$ADDRESS_monitor:7472/api/v1/paths"
check "the controller runs" running controller
