#!/bin/sh
# Builds the programs in a container, for the processor that it has; deploy/Dockerfile calls it in the sources' folder:
#   build.sh TARGETARCH EBPF_OBJECTS
# TARGETARCH is the image's processor as BuildKit names it, which is Debian's name; empty with builders that do not say it.
# EBPF_OBJECTS is the folder with bpfel-x86_64.o and bpfel-aarch64.o, or none.
set -eu
wanted=$1
objects=$2
built=$(dpkg --print-architecture)
if [ -n "$wanted" ] && [ "$wanted" != "$built" ]; then
    echo "the image is for $wanted, but its programs would be built for $built: leave --platform out of deploy/Dockerfile" >&2
    exit 1
fi
case $built in
amd64) processor=x86_64 ;;
arm64) processor=aarch64 ;;
*) processor=$built ;;
esac
if [ "$objects" = none ]; then
    RPINGMESH_EBPF_OBJECT=none
else
    RPINGMESH_EBPF_OBJECT=$PWD/$objects/bpfel-$processor.o
    if ! [ -f "$RPINGMESH_EBPF_OBJECT" ]; then
        echo "there is no $objects/bpfel-$processor.o: run \`cargo xtask ebpf\` first, or build with" \
            "--build-arg EBPF_OBJECTS=none an agent that cannot follow services" >&2
        exit 1
    fi
fi
export RPINGMESH_EBPF_OBJECT
# The build refuses an object for another processor.
exec cargo build --locked --profile dist --package rpingmesh --bins
