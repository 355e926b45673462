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
    # virtualisation/qemu-vm.nix
    virtualisation = {
      memorySize = option types.ints.positive 1024;
      cores = option types.ints.positive 1;
      vlans = option (types.listOf types.ints.unsigned) [ 1 ];
    };
  };
}
