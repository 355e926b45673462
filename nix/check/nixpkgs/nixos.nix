# The NixOS options that the modules and tests set, with their types. Evidence: the file of nixos/modules in the comment.
{ lib, ... }:
let
  inherit (lib) mkOption types;
  option =
    type: default:
    mkOption {
      inherit type default;
    };
  list = types.listOf types.str;
in
{
  options = {
    # misc/assertions.nix
    assertions = option (types.listOf types.anything) [ ];
    # system/boot/kernel.nix
    boot.kernelModules = option list [ ];
    # config/system-path.nix
    environment.systemPackages = option (types.listOf types.package) [ ];
    # system/etc/etc.nix
    environment.etc = option (types.attrsOf (
      types.submodule {
        options = {
          source = option (types.nullOr types.path) null;
          text = option (types.nullOr types.lines) null;
        };
      }
    )) { };
    # config/networking.nix
    networking.extraHosts = option types.lines "";
    # tasks/network-interfaces.nix
    networking.hostName = option types.str "nixos";
    # services/networking/firewall.nix
    networking.firewall = {
      enable = option types.bool true;
      allowedTCPPorts = option (types.listOf types.port) [ ];
      allowedUDPPorts = option (types.listOf types.port) [ ];
    };
    # tasks/network-interfaces.nix
    networking.interfaces = option (types.attrsOf (
      types.submodule {
        options.ipv4.addresses = option (types.listOf (
          types.submodule {
            options = {
              address = mkOption { type = types.str; };
              prefixLength = mkOption { type = types.ints.between 0 32; };
            };
          }
        )) [ ];
      }
    )) { };
    # services/networking/rxe.nix
    networking.rxe = {
      enable = option types.bool false;
      interfaces = option list [ ];
    };
    # system/boot/systemd.nix, lib/systemd-unit-options.nix
    systemd.services = option (types.attrsOf (
      types.submodule {
        options = {
          description = option types.str "";
          after = option list [ ];
          before = option list [ ];
          requires = option list [ ];
          wantedBy = option list [ ];
          wants = option list [ ];
          path = option (types.listOf types.package) [ ];
          environment = option (types.attrsOf types.str) { };
          # Directives are systemd's own: systemd-analyze verify looks at them.
          serviceConfig = option (types.attrsOf types.anything) { };
        };
      }
    )) { };
    # system/boot/systemd.nix, lib/systemd-unit-options.nix
    systemd.sockets = option (types.attrsOf (
      types.submodule {
        options = {
          description = option types.str "";
          wantedBy = option list [ ];
          listenStreams = option list [ ];
        };
      }
    )) { };
    # misc/nixpkgs.nix
    nixpkgs.hostPlatform = option types.str "";
    # misc/version.nix
    system.stateVersion = option types.str "26.05";
    # services/ttys/getty.nix
    services.getty.autologinUser = option (types.nullOr types.str) null;
  };
}
