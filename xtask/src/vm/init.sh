#!/bin/sh
# First process of a guest: network, soft-RoCE, then commands from the host until the host goes away.
export PATH=/usr/sbin:/usr/bin:/usr/libexec/busybox HOME=/root
b=/usr/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
$b mkdir -p /dev/pts /dev/shm /run/logs
$b mount -t devpts pts /dev/pts
$b mount -t tmpfs shm /dev/shm
$b mount -t tmpfs tmp /tmp
$b mount -t cgroup2 cgroup /sys/fs/cgroup
$b mount -t tracefs tracing /sys/kernel/tracing 2>/dev/null
$b mount -t bpf bpf /sys/fs/bpf 2>/dev/null
$b ln -sf /proc/self/fd /dev/fd
$b mkdir -p /var/lib
$b ln -s /run /var/run
$b --install -s /usr/libexec/busybox
ulimit -l unlimited

number=$(sed -n 's/.*rpingmesh\.node=\([0-9]*\).*/\1/p' /proc/cmdline)
. "/scenario/nodes/$number/environment"
hostname "$NODE"

fail() {
    echo "guest $NODE: $*"
    poweroff -f
}

for module in virtio_pci virtio_console virtio_net; do
    modprobe "$module" || echo "modprobe $module: built in or missing"
done

# The port's number differs from machine to machine; its name does not.
control=
for port in /sys/class/virtio-ports/*; do
    [ "$(cat "$port/name" 2>/dev/null)" = control ] && control=/dev/${port##*/}
done
[ -n "$control" ] || fail "no control port"
exec 3<>"$control" || fail "cannot open $control"

ip link set lo up
ip link set "$INTERFACE" up || fail "no interface $INTERFACE"
ip addr add "$(cat "/scenario/nodes/$number/address")" dev "$INTERFACE"
if [ -n "$RXE" ]; then
    modprobe crc32_generic 2>/dev/null
    # After the address: soft-RoCE takes it into its GID table.
    modprobe rdma_rxe && modprobe ib_uverbs || fail "soft-RoCE does not load"
    rdma link add "$RXE" type rxe netdev "$INTERFACE" || fail "soft-RoCE device $RXE not made"
fi

# One command of the host: output lines and the status go back with the command's number.
serve() {
    { sh "/run/command.$1" </dev/null 2>&1 3>&-; echo $? >"/run/status.$1"; } |
        while IFS= read -r line || [ -n "$line" ]; do printf 'o %s %s\n' "$1" "$line"; done >&3
    printf 'x %s %s\n' "$1" "$(cat "/run/status.$1")" >&3
    rm -f "/run/command.$1" "/run/status.$1"
}

echo "guest $NODE: ready"
printf 'ready\n' >&3
while read -r id encoded <&3; do
    printf '%s' "$encoded" | base64 -d >"/run/command.$id"
    serve "$id" &
done
# End of file: the host process is gone.
poweroff -f
