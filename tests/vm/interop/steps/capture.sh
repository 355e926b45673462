# On the side that receives the user-space node's packets: as they were on the wire.
start capture tcpdump --immediate-mode -U -i "$INTERFACE" -w /tmp/capture udp dst port 4791
check "the capture runs" wait_for 10 test -s /tmp/capture
