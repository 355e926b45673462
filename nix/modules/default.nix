# NixOS modules by role, and all of them. They take the programs from the flake: no overlay is needed.
{ lib, self }:
let
  role = name: file: {
    # The module system takes a key once, though both this module and `default` be imported.
    key = "rpingmesh#nixosModules.${name}";
    _file = toString file;
    imports = [
      (lib.modules.importApply file {
        packageFor = pkgs: self.packages.${pkgs.stdenv.hostPlatform.system}.${name};
      })
    ];
  };
  roles = lib.mapAttrs role {
    agent = ./agent.nix;
    analyzer = ./analyzer.nix;
    controller = ./controller.nix;
  };
in
roles
// {
  default.imports = builtins.attrValues roles;
}
