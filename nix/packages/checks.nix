# What `nix flake check` builds beside the VM tests.
{
  agent,
  analyzer,
  cargoArtifacts,
  cli,
  common,
  controller,
  craneLib,
  diffutils,
  ebpf-bpfel-aarch64,
  ebpf-bpfel-x86_64,
  lib,
  macos-stub,
  runCommand,
  sources,
  stdenv,
}:
let
  shared = {
    inherit (common) pname version;
    src = sources.tests;
    strictDeps = true;
  };
  withArtifacts = shared // {
    inherit cargoArtifacts;
    cargoExtraArgs = "--locked --workspace";
  };
  # Built a second time in another folder: the bytes must be the same.
  again =
    object:
    object.overrideAttrs (old: {
      pname = "${old.pname}-again";
      postUnpack = "mv $sourceRoot elsewhere; sourceRoot=elsewhere";
    });
  reproducible =
    object:
    runCommand "${object.pname}-reproducible" { nativeBuildInputs = [ diffutils ]; } ''
      cmp ${object}/rpingmesh-ebpf ${again object}/rpingmesh-ebpf
      touch $out
    '';
in
{
  inherit
    agent
    analyzer
    cli
    controller
    ebpf-bpfel-aarch64
    ebpf-bpfel-x86_64
    ;
  ebpf-reproducible-aarch64 = reproducible ebpf-bpfel-aarch64;
  ebpf-reproducible-x86_64 = reproducible ebpf-bpfel-x86_64;

  fmt = craneLib.cargoFmt (shared // { cargoExtraArgs = "--all"; });
  clippy = craneLib.cargoClippy (
    withArtifacts // { cargoClippyExtraArgs = "--all-targets -- -D warnings"; }
  );
  doc = craneLib.cargoDoc (withArtifacts // { env.RUSTDOCFLAGS = "-D warnings"; });
  # Advisories need a database from the network.
  deny = craneLib.cargoDeny (shared // { cargoDenyChecks = "bans licenses sources"; });
  # xtask's own tests look for system packages.
  nextest = craneLib.cargoNextest (
    shared
    // {
      inherit cargoArtifacts;
      cargoExtraArgs = "--locked --package rpingmesh --package rdma-core-sys";
      cargoNextestExtraArgs = "--no-tests fail --profile default";
    }
    // lib.optionalAttrs stdenv.hostPlatform.isDarwin { __darwinAllowLocalNetworking = true; }
  );
}
// lib.optionalAttrs stdenv.hostPlatform.isLinux { inherit macos-stub; }
