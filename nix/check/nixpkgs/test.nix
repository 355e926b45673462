# testers.runNixOSTest: evaluates every node's configuration and the script.
{
  lib,
  onlyArguments,
  fake,
  guest,
}:
arguments:
let
  # nixos/lib/testing/{name,nodes,testScript,driver,interactive,meta}.nix
  test = onlyArguments "runNixOSTest" [
    "name"
    "defaults"
    "nodes"
    "testScript"
    "globalTimeout"
    "meta"
  ] arguments;
  node =
    _: module:
    (lib.evalModules {
      modules = [
        ./nixos.nix
        (test.defaults or { })
        module
      ];
      specialArgs.pkgs = guest;
    }).config;
  nodes = lib.mapAttrs node test.nodes;
in
fake {
  name = "vm-test-run-${test.name}";
  inputs = [
    test.testScript
    (builtins.toJSON nodes)
  ];
  passthru = {
    driverInteractive = fake { name = "nixos-test-driver-${test.name}"; };
    checker = {
      inherit (test) name testScript;
      inherit nodes;
    };
  };
}
