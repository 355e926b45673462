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
    role = "analyzer";
  };
  inherit (role) cfg;
  listen = if cfg.settings.listen == null then "127.0.0.1:7471" else cfg.settings.listen;
in
{
  options.services.rpingmesh.analyzer = role.options;

  config = lib.mkIf cfg.enable {
    # The web server stays closed: it has neither TLS nor passwords.
    networking.firewall.allowedTCPPorts = lib.mkIf cfg.openFirewall [ (role.portOf listen) ];

    systemd.services.rpingmesh-analyzer = role.unit {
      description = "rpingmesh analyzer";
      serviceConfig.PrivateDevices = true;
    };
  };
}
