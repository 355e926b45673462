# `nix run .#NAME`.
{
  lib,
  pkgs,
  # The NixOS configuration that `demo` boots.
  demo,
  vmTests,
}:
let
  run = program: description: {
    type = "app";
    inherit program;
    meta = { inherit description; };
  };
in
{
  default = run (lib.getExe pkgs.rpingmesh.cli) "the operators' program";
  lab = run (lib.getExe pkgs.rpingmesh.lab) "the whole system on an emulated fabric in one process";
  demo = run "${demo.config.system.build.vm}/bin/run-${demo.config.networking.hostName}-vm" "a guest with the three roles and the lab";
}
// lib.mapAttrs' (name: test: {
  name = "vm-${name}";
  value = run "${test.driverInteractive}/bin/nixos-test-driver" "interactive driver of the VM test ${name}";
}) vmTests
