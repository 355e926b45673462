# Programs that read at wrong places, as with the types of another kernel.
kernel_tests() {
    rpingmesh-agent-tests --ignored --test-threads 1 kernel_tests >/tmp/kernel-tests 2>&1 &&
        grep -Eq 'test result: ok\. [1-9]' /tmp/kernel-tests && return 0
    tail -n 60 /tmp/kernel-tests
    return 1
}
check "wrong places are noticed, right ones proved" kernel_tests
report "tests of the tracer: $(grep 'test result' /tmp/kernel-tests)"
