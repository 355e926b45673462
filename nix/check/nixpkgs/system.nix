# What nixpkgs' flake adds to `lib` (flake.nix, nixos/lib/eval-config.nix): `nixosSystem`.
let
  lib = import ./lib.nix;
in
{
  nixosSystem =
    {
      modules,
      specialArgs ? { },
    }:
    let
      pkgs = import ./. { system = evaluated.config.nixpkgs.hostPlatform; };
      evaluated = lib.evalModules {
        modules = [ ./nixos.nix ] ++ modules;
        specialArgs = {
          inherit pkgs;
        }
        // specialArgs;
      };
      inherit (evaluated) config;
      inherit (pkgs.checker) fake;
      # Every option's value; the host's packages are not for JSON.
      system = builtins.toJSON (removeAttrs config [ "virtualisation" ]);
      build = {
        # system/activation/top-level.nix
        toplevel = fake {
          name = "nixos-system-${config.networking.hostName}";
          inputs = [ system ];
        };
        # virtualisation/qemu-vm.nix
        vm =
          (if config.virtualisation.host.pkgs == null then pkgs else config.virtualisation.host.pkgs)
          .checker.fake
            {
              name = "nixos-vm";
              inputs = [
                system
                (builtins.toJSON {
                  inherit (config.virtualisation)
                    cores
                    forwardPorts
                    graphics
                    memorySize
                    ;
                })
              ];
            };
      };
    in
    {
      inherit pkgs;
      config = config // {
        system = config.system // {
          inherit build;
        };
      };
    };
}
