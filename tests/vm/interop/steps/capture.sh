# On the side that receives the user-space node's packets: as they were on the wire.
# In immediate mode each packet takes room for the longest: the default length leaves room for few.
start capture tcpdump --immediate-mode -s 2048 -B 8192 -U -i "$INTERFACE" -w /tmp/capture udp dst port 4791
check "the capture runs" wait_for 10 test -s /tmp/capture
