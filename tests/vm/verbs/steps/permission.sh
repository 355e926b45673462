. "$SCENARIO/trouble.sh"
chmod 600 /dev/infiniband/uverbs0
check "ping says that the device is closed to this user" \
    says 1 "open the devices below /dev/infiniband to this user" unprivileged ping "$ADDRESS_host%0x11" --count 1
check "doctor says so" says 1 "open the devices below /dev/infiniband to this user" unprivileged doctor
chmod 666 /dev/infiniband/uverbs0
check "no privilege is needed to probe" says 0 "usable RNIC port" unprivileged doctor
