# What `cargo xtask flake` looks at beyond evaluation, as one value: `nix eval --json --file nix/check/report.nix`.
# The flake's outputs are computed with the stand-ins for its three inputs.
let
  input = path: (import (path + "/flake.nix")).outputs { } // { outPath = path; };
  flakeWith =
    nixpkgs:
    let
      self = (import ../../flake.nix).outputs {
        inherit self;
        nixpkgs = input nixpkgs;
        rust-overlay = input ./rust-overlay;
        crane = input ./crane;
      };
    in
    self;
  self = flakeWith ./nixpkgs;
  # After some `nix flake update`.
  next = flakeWith ./next;
  lib = import ./nixpkgs/lib.nix;
  # What a user's system has: no overlay of ours.
  pkgs = import ./nixpkgs { system = "x86_64-linux"; };

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
          # Once more by name: that must not count twice.
          self.nixosModules.${sample.role}
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
        packageFor = _: throw "the report needs no package";
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
  formatters = lib.mapAttrs (_: formatter: formatter.pname) self.formatter;
  shells = lib.mapAttrs (_: shells: shells.default.checker.shell) self.devShells;
  # What the next release leaves must evaluate, too: the paths of all derivations.
  next = lib.mapAttrs (_: lib.mapAttrs (_: package: package.drvPath)) next.packages;
  images = lib.mapAttrs (_: image: image.checker.image) (
    lib.filterAttrs (_: value: value ? checker.image) self.packages.x86_64-linux
  );
  samples = map evaluate (import ./samples.nix);
  options = lib.genAttrs [ "agent" "controller" "analyzer" ] optionsOf;
  phases = phasesOf (
    lib.filterAttrs hasCommands (self.packages.x86_64-linux // self.checks.x86_64-linux)
  );
  scripts = lib.mapAttrs (_: test: { inherit (test.checker) nodes testScript; }) (
    lib.filterAttrs (_: value: value ? checker.testScript) self.checks.x86_64-linux
  );
}
