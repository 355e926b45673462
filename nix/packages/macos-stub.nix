# The macOS programs, linked on Linux: guards that build without a Mac. No SDK is needed as long as no crate wants an
# Apple framework (deny.toml refuses those that do). For running on a Mac, build there.
{
  cargo-zigbuild,
  common,
  craneLib,
  sources,
  toolchainFor,
  zig,
}:
let
  target = "aarch64-apple-darwin";
  withTarget = craneLib.overrideToolchain (
    pkgs: (toolchainFor pkgs).override { targets = [ target ]; }
  );
in
withTarget.buildPackage {
  pname = "rpingmesh-macos-stub";
  inherit (common) version;
  src = sources.programs;
  strictDeps = true;
  cargoArtifacts = null;
  cargoBuildCommand = "cargo zigbuild --release";
  cargoExtraArgs = "--locked --package rpingmesh --target ${target}";
  nativeBuildInputs = [
    cargo-zigbuild
    zig
  ];
  preBuild = ''
    export XDG_CACHE_HOME=$TMPDIR/cache
  '';
  doCheck = false;
}
