# One eBPF object. The instruction set is the same for all; the processor decides where kernel arguments are read.
{
  bpfLinker,
  common,
  craneLib,
  lib,
  sources,
  targetArch,
}:
craneLib.mkCargoDerivation {
  pname = "ebpf-bpfel-${targetArch}";
  inherit (common) version;
  src = sources.ebpf;
  strictDeps = true;
  cargoArtifacts = null;
  # -Z build-std resolves the standard library's own workspace: its lock file is needed, too. nix/rust-std.lock is the
  # pinned toolchain's library/Cargo.lock, so that nothing has to be built to know what to fetch.
  cargoVendorDir = craneLib.vendorMultipleCargoDeps {
    cargoLockList = [
      ../../ebpf/Cargo.lock
      ../rust-std.lock
    ];
  };
  nativeBuildInputs = [ bpfLinker ];
  env.RUSTC_BOOTSTRAP = "1";
  # Without the remapping the object would hold the paths of its build.
  buildPhaseCargoCommand = ''
    RUSTFLAGS="--cfg=bpf_target_arch=\"${targetArch}\" -Cdebuginfo=2 -Clink-arg=--btf"
    RUSTFLAGS+=" --remap-path-prefix=$PWD=/src --remap-path-prefix=$CARGO_HOME=/cargo"
    RUSTFLAGS+=" --remap-path-prefix=$cargoVendorDir=/vendor --remap-path-prefix=$(rustc --print sysroot)=/rust"
    export RUSTFLAGS
    (
      cd ebpf
      cargo build --locked --release -Z build-std=core --target bpfel-unknown-none --target-dir ../target
    )
  '';
  installPhaseCommand = ''
    install -D -m 444 -t $out target/bpfel-unknown-none/release/rpingmesh-ebpf
  '';
  doInstallCargoArtifacts = false;
  meta = {
    description = "eBPF programs of rpingmesh's agent for ${targetArch}";
    license = [
      lib.licenses.mit
      lib.licenses.gpl2Only
    ];
  };
}
