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
    role = "controller";
  };
  inherit (role) cfg duration key;
  listen = if cfg.settings.listen == null then "127.0.0.1:7470" else cfg.settings.listen;
in
{
  options.services.rpingmesh.controller = role.options {
    listen = key types.str "Address of the gRPC service.";
    metrics = key types.str "Address of GET /metrics.";
    store = key types.str "Where the registry is kept: `sqlite:PATH`.";
    registry = {
      lease = key duration "Silence after which an agent counts as stale.";
      retention = key duration "Silence after which an agent is forgotten.";
    };
    pinglist = {
      seed = key types.ints.unsigned "Decides which UDP source ports are drawn.";
      coverage = key types.number "Probability that the 5-tuples between two ToRs touch all parallel paths.";
      topology = key types.str "JSON file that describes the fabric, on the running system.";
      parallel_paths = key types.ints.positive "Parallel paths between two ToRs.";
      tor_mesh_rate = key types.number "ToR-mesh probes per second of each RNIC.";
      link_rate = key types.number "Inter-ToR probes per second of each link above a ToR.";
      rnic_budget = key types.number "Probes per second that all lists together may ask of one RNIC.";
      max_tuples_per_rnic = key types.ints.positive "Inter-ToR 5-tuples of one RNIC.";
      rotation = key duration "How often a fifth of the inter-ToR 5-tuples changes.";
    };
    agents = {
      probe_timeout = key duration "After how long a probe counts as lost.";
      service_probe_interval = key duration "How often a traced connection is probed.";
      max_probes_per_second = key types.number "Upper bound over all kinds of probes, per RNIC.";
      upload_interval = key duration "How often results are put into a batch.";
    };
  };

  config = lib.mkIf cfg.enable {
    networking.firewall.allowedTCPPorts = lib.mkIf cfg.openFirewall [ (role.portOf listen) ];

    systemd.services.rpingmesh-controller = role.unit {
      description = "rpingmesh controller";
      serviceConfig.PrivateDevices = true;
    };
  };
}
