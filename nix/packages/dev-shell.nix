# `nix develop`: the pinned toolchain with the standard library's sources, and what `cargo xtask` calls.
{
  bpfLinker,
  cargo-deny,
  cargo-insta,
  cargo-nextest,
  craneLib,
  lib,
  qemu,
  rdma-core,
  stdenv,
}:
craneLib.devShell (
  {
    packages = [
      bpfLinker
      cargo-deny
      cargo-insta
      cargo-nextest
      qemu
    ];
  }
  // lib.optionalAttrs stdenv.hostPlatform.isLinux {
    # The agent opens libibverbs at run time.
    LD_LIBRARY_PATH = lib.makeLibraryPath [ rdma-core ];
  }
)
