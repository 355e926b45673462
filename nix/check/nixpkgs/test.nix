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
        ./nixos/modules/virtualisation/qemu-vm.nix
        (test.defaults or { })
        module
      ];
      specialArgs.pkgs = guest;
    }).config;
  nodes = lib.mapAttrs node test.nodes;
  # For JSON: the rest is for evaluation only.
  shown = lib.mapAttrs (
    _: node: removeAttrs node [ "virtualisation" ] // { inherit (node.virtualisation) memorySize; }
  ) nodes;
in
fake {
  name = "vm-test-run-${test.name}";
  inputs = [
    test.testScript
    (builtins.toJSON shown)
  ];
  passthru = {
    driverInteractive = fake { name = "nixos-test-driver-${test.name}"; };
    checker = {
      inherit (test) name testScript;
      nodes = builtins.attrNames nodes;
    };
  };
}
