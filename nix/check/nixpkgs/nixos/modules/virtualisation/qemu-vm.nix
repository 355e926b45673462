# The options of that file that tests and the demo set.
{ lib, ... }:
let
  inherit (lib) mkOption types;
  option =
    type: default:
    mkOption {
      inherit type default;
    };
in
{
  options.virtualisation = {
    memorySize = option types.ints.positive 1024;
    cores = option types.ints.positive 1;
    graphics = option types.bool true;
    vlans = option (types.listOf types.ints.unsigned) [ 1 ];
    host.pkgs = option types.raw null;
    forwardPorts = option (types.listOf (
      types.submodule {
        options = {
          from = option (types.enum [
            "host"
            "guest"
          ]) "host";
          proto = option (types.enum [
            "tcp"
            "udp"
          ]) "tcp";
          host.address = option types.str "";
          host.port = mkOption { type = types.port; };
          guest.address = option types.str "";
          guest.port = mkOption { type = types.port; };
        };
      }
    )) [ ];
  };
}
