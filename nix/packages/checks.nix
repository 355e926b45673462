# What `nix flake check` builds beside the VM tests: every package of this system, lints and tests.
{
  lib,
  pkgs,
  # `packages.<system>` of the flake.
  packages,
}:
let
  scope = pkgs.rpingmesh;
  inherit (scope) cargoArtifacts common craneLib;
  inherit (pkgs.stdenv.hostPlatform) isDarwin isLinux;
  # On macOS the agents for Linux are built by a Linux machine, which not everybody has.
  elsewhere = lib.optionals isDarwin [
    "agent-aarch64-linux"
    "agent-x86_64-linux"
  ];
  # The four programs in one folder, and this system's agent by another name.
  again = [
    "default"
  ]
  ++ lib.optional isLinux "agent-${pkgs.stdenv.hostPlatform.system}";

  shared = {
    inherit (common) pname version;
    src = scope.sources.tests;
    strictDeps = true;
  };
  withArtifacts = shared // {
    inherit cargoArtifacts;
    cargoExtraArgs = "--locked --workspace";
  };
  # Built a second time in another folder: the bytes must be the same.
  elsewhereBuilt =
    object:
    object.overrideAttrs (old: {
      pname = "${old.pname}-again";
      postUnpack = "mv $sourceRoot elsewhere; sourceRoot=elsewhere";
    });
  reproducible =
    object:
    pkgs.runCommand "${object.pname}-reproducible" { nativeBuildInputs = [ pkgs.diffutils ]; } ''
      cmp ${object}/rpingmesh-ebpf ${elsewhereBuilt object}/rpingmesh-ebpf
      touch $out
    '';
in
removeAttrs packages (elsewhere ++ again)
// {
  ebpf-reproducible-aarch64 = reproducible scope.ebpf-bpfel-aarch64;
  ebpf-reproducible-x86_64 = reproducible scope.ebpf-bpfel-x86_64;

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
    // lib.optionalAttrs isDarwin { __darwinAllowLocalNetworking = true; }
  );
}
