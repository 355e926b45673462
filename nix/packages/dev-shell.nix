# `nix develop`: the pinned toolchain with the standard library's sources, and the programs that `cargo xtask` calls.
{
  bpfLinker,
  bubblewrap,
  cargo-deb,
  cargo-deny,
  cargo-insta,
  cargo-nextest,
  craneLib,
  deadnix,
  iproute2,
  lib,
  llvmPackages_22,
  mypy,
  nftables,
  nixfmt,
  python3,
  qemu,
  rdma-core,
  stdenv,
  systemd,
}:
let
  inherit (stdenv.hostPlatform) isLinux;
in
craneLib.devShell (
  {
    packages = [
      bpfLinker
      cargo-deb
      cargo-deny
      cargo-insta
      cargo-nextest
      deadnix
      mypy
      nixfmt
      python3
      qemu
    ]
    ++ lib.optionals isLinux [
      bubblewrap
      iproute2
      nftables
      systemd
    ];
    # `cargo xtask` takes its tools from PATH: what they are is pinned by flake.lock.
    RPINGMESH_TOOLS = "path";
    # llvm-strip.
    LLVM_PREFIX = "${llvmPackages_22.llvm}";
  }
  // lib.optionalAttrs isLinux {
    # The agent opens libibverbs at run time.
    LD_LIBRARY_PATH = lib.makeLibraryPath [ rdma-core ];
  }
)
