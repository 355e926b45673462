{ packageFor }:
{
  config,
  lib,
  pkgs,
  ...
}:
let
  role = import ./role.nix {
    inherit
      config
      lib
      packageFor
      pkgs
      ;
    role = "controller";
  };
  inherit (role) cfg;
  listen = if cfg.settings.listen == null then "127.0.0.1:7470" else cfg.settings.listen;
in
{
  options.services.rpingmesh.controller = role.options;

  config = lib.mkIf cfg.enable {
    networking.firewall.allowedTCPPorts = lib.mkIf cfg.openFirewall [ (role.portOf listen) ];

    systemd.services.rpingmesh-controller = role.unit {
      description = "rpingmesh controller";
      serviceConfig.PrivateDevices = true;
    };
  };
}
