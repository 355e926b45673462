{ packageFor }:
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) types;
  role = import ./role.nix {
    inherit
      config
      lib
      packageFor
      pkgs
      ;
    role = "analyzer";
  };
  inherit (role) cfg duration key;
  listen = if cfg.settings.listen == null then "127.0.0.1:7471" else cfg.settings.listen;
in
{
  options.services.rpingmesh.analyzer = role.options {
    listen = key types.str "Where agents upload to (gRPC).";
    web = key types.str "Where the dashboard, the JSON API and /metrics are served (HTTP).";
    web_allow_remote = key types.bool "Serve them on other addresses than loopback: no TLS, no passwords.";
    web_tls = key types.bool "Serve them over TLS, to those alone who have a certificate of the CA.";
    web_auth_header = key types.str "Header that a proxy which authenticates users sets.";
    store = key types.str "Where acknowledged batches are kept: `sqlite:PATH`.";
    lateness = key duration "How late a batch may come and still be counted.";
    clock_tolerance = key duration "How far an agent's clock may be ahead.";
    max_paths = key types.ints.positive "Bound of the paths in the windows.";
    memory_limit = key role.size "Bound of the windows' memory.";
    topology = key types.str "JSON file with the fabric's cables, on the running system.";
    judge_interval = key duration "How often the analyzer judges.";
    incident_retention = key duration "How long closed incidents are kept.";
    alerts = {
      alertmanagers = key (types.listOf types.str) "Base URLs of Alertmanagers.";
      webhooks = key (types.listOf types.str) "URLs that changes of incidents are posted to.";
      webhook_secret_file = key types.str "File with the secret that webhooks' bodies are signed with.";
      labels = key (types.listOf types.str) "Labels of every alert: `NAME=VALUE`.";
      resend_interval = key duration "How often open alerts are told to Alertmanagers again.";
      external_url = key types.str "Where people reach the web server.";
      ca = key types.str "CA certificates that receivers with https:// are verified by.";
    };
    history_retention = key duration "How long the dashboard's past is kept.";
  };

  config = lib.mkIf cfg.enable {
    # The web server stays closed: it has neither TLS nor passwords.
    networking.firewall.allowedTCPPorts = lib.mkIf cfg.openFirewall [ (role.portOf listen) ];

    systemd.services.rpingmesh-analyzer = role.unit {
      description = "rpingmesh analyzer";
      serviceConfig.PrivateDevices = true;
    };
  };
}
