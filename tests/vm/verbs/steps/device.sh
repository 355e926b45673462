# The tests that need a device. `talk` and `echo` are the two ends of one for two hosts.
device_tests() {
    rpingmesh-agent-tests --ignored --test-threads 1 device_tests --skip talk --skip echo >/tmp/device-tests 2>&1 &&
        grep -Eq 'test result: ok\. [1-9]' /tmp/device-tests && return 0
    tail -n 60 /tmp/device-tests
    return 1
}
uname -r
check "the transport's tests pass on $RXE" device_tests
report "tests on a device: $(grep 'test result' /tmp/device-tests)"
