# The VM tests: every scenario of tests/vm, and the modules.
{
  callPackage,
  lib,
  module,
}:
let
  folder = ../../tests/vm;
  # perftest's programs: nixpkgs has no perftest (NixOS/nixpkgs#229181 asks for it). A scenario that wants one runs with `cargo xtask vm` only.
  notInNixpkgs = [
    "ib_read_bw"
    "ib_send_bw"
    "ib_send_lat"
    "ib_write_bw"
  ];
  # Nor is a program's test binary among the packages.
  isPossible =
    scenario:
    !lib.any (program: lib.elem program notInNixpkgs) (scenario.programs or [ ])
    && scenario.tests or [ ] == [ ];
  isScenario =
    name: kind:
    kind == "directory"
    && builtins.pathExists (folder + "/${name}/scenario.toml")
    && isPossible (lib.importTOML (folder + "/${name}/scenario.toml"));
  scenarios = lib.filterAttrs isScenario (builtins.readDir folder);
in
lib.mapAttrs (name: _: callPackage ./scenario.nix { inherit name; }) scenarios
// {
  modules = callPackage ./modules.nix { inherit module; };
}
