# The VM tests: every scenario of tests/vm, and the modules.
{
  lib,
  pkgs,
  # The flake, whose modules are tested.
  self,
}:
let
  inherit (pkgs) testers;
  folder = ../../tests/vm;
  # A program's test binary is not among the packages: such a scenario runs with `cargo xtask vm` only.
  isPossible = scenario: scenario.tests or [ ] == [ ];
  isScenario =
    name: kind:
    kind == "directory"
    && builtins.pathExists (folder + "/${name}/scenario.toml")
    && isPossible (lib.importTOML (folder + "/${name}/scenario.toml"));
  scenarios = lib.filterAttrs isScenario (builtins.readDir folder);
in
lib.mapAttrs (name: _: import ./scenario.nix { inherit lib name testers; }) scenarios
// {
  modules = import ./modules.nix {
    inherit testers;
    module = self.nixosModules.default;
  };
}
