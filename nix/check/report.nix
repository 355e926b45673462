# What `cargo xtask flake` looks at beyond evaluation, as one value: `nix eval --json --file nix/check/report.nix`.
# The flake's outputs are computed with the stand-ins for its three inputs.
let
  input = path: (import (path + "/flake.nix")).outputs { } // { outPath = path; };
  self = (import ../../flake.nix).outputs {
    inherit self;
    nixpkgs = input ./nixpkgs;
    rust-overlay = input ./rust-overlay;
    crane = input ./crane;
  };
  lib = import ./nixpkgs/lib.nix;
  pkgs = import ./nixpkgs {
    system = "x86_64-linux";
    overlays = [
      (import ./rust-overlay)
      self.overlays.default
    ];
  };

  names = builtins.mapAttrs (_: builtins.attrNames);

  # As systemd.services writes it.
  directive =
    value: if builtins.isBool value then (if value then "true" else "false") else toString value;

  evaluate =
    sample:
    let
      evaluated = lib.evalModules {
        modules = [
          ./nixpkgs/nixos.nix
          self.nixosModules.default
          sample.configuration
        ];
        specialArgs = { inherit pkgs; };
      };
      name = "rpingmesh-${sample.role}";
      unit = evaluated.config.systemd.services.${name};
      role = import ../modules/role.nix {
        inherit (evaluated) config;
        inherit lib pkgs;
        inherit (sample) role;
      };
    in
    {
      inherit (sample) name role;
      refused = sample.refused or null;
      settings = role.rendered;
      buildSettings = role.checkable;
      unit = builtins.mapAttrs (_: directive) unit.serviceConfig;
      inherit (evaluated.config.networking.firewall) allowedTCPPorts allowedUDPPorts;
    };

  optionsOf =
    role:
    let
      paths =
        prefix: tree:
        builtins.concatMap (
          name:
          let
            here = if prefix == "" then name else "${prefix}.${name}";
          in
          if (tree.${name}._type or null) == "option" then [ here ] else paths here tree.${name}
        ) (builtins.attrNames tree);
      module = lib.evalModules {
        modules = [
          ./nixpkgs/nixos.nix
          self.nixosModules.default
        ];
        specialArgs = { inherit pkgs; };
      };
    in
    paths "" module.options.services.rpingmesh.${role}.settings.type.options;

  hasCommands = _: value: value ? checker.commands;
  phasesOf = lib.mapAttrsToList (
    name: value: {
      inherit name;
      inherit (value.checker)
        commands
        env
        source
        ;
    }
  );
in
{
  outputs = {
    packages = names self.packages;
    checks = names self.checks;
    apps = names self.apps;
  };
  samples = map evaluate (import ./samples.nix);
  options = lib.genAttrs [ "agent" "controller" "analyzer" ] optionsOf;
  phases = phasesOf (
    lib.filterAttrs hasCommands (self.packages.x86_64-linux // self.checks.x86_64-linux)
  );
  scripts = lib.mapAttrs (_: test: test.checker.testScript) (
    lib.filterAttrs (_: value: value ? checker.testScript) self.checks.x86_64-linux
  );
}
