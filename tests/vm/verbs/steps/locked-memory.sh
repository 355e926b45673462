. "$SCENARIO/trouble.sh"
chmod 666 /dev/infiniband/uverbs0
limited() (
    ulimit -l 16
    unprivileged "$@"
)
check "ping names the limit of locked memory and how to raise it" \
    says 1 "the limit of locked memory (RLIMIT_MEMLOCK) is 16 KiB, which may be too low: raise it with \`ulimit -l\`" \
    limited ping "$ADDRESS_host%0x11" --count 1
check "so does a responder" says 1 "RLIMIT_MEMLOCK" limited respond
check "doctor finds it" says 1 "PROBLEM memlock: only 16384 bytes may be locked" limited doctor
