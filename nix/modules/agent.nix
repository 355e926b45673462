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
    role = "agent";
  };
  inherit (role) cfg duration key;
in
{
  options.services.rpingmesh.agent =
    role.options {
      transport = key (types.enum [
        "auto"
        "verbs"
        "userspace"
        "none"
      ]) "What carries the probes.";
      tracing =
        key
          (types.enum [
            "auto"
            "on"
            "off"
          ])
          "Whether the services' own connections are followed; `on` needs `services.rpingmesh.agent.tracing.enable`.";
      controller = key types.str "URL of the controller.";
      analyzer = key types.str "URL of the analyzer.";
      tor = key types.str "The ToR switch that this host is cabled to.";
      topology = key types.str "JSON file that describes the fabric, on the running system; names the ToR where `tor` does not.";
      device_tors = key (types.listOf types.str) "ToR switches of single devices or ports: `mlx5_0=tor0`.";
      host = key types.str "This host's name in results.";
      agent_id = key types.str "Name under which the agent registers.";
      devices = key (types.listOf types.str) "Devices to use: `mlx5_0`, `mlx5_1/1`.";
      gid_index = key types.ints.unsigned "Index in the GID table of each device.";
      gids = key (types.listOf types.str) "The GIDs themselves, one for each device.";
      queue_pairs = key (types.ints.between 1 64) "Queue pairs of an endpoint whose driver lets only them decide the port.";
      steering = key (types.enum [
        "auto"
        "flow-label"
        "queue-pair"
        "driver"
      ]) "What decides the UDP source port of the devices' packets.";
      userspace_addresses = key (types.listOf types.str) "Addresses that the userspace transport answers on.";
      userspace_port = key types.port "UDP port of the userspace transport.";
      probe_timeout = key duration "How long a probe waits for its ACKs.";
      service_probe_interval = key duration "How often a traced connection is probed.";
      traffic_class = key (types.ints.between 0 255) "DSCP and ECN bits of probes and ACKs.";
      max_probes_per_second = key types.number "Upper bound of probes per second and RNIC.";
      state_dir = key types.str "Folder for what outlives the agent.";
      spool_dir = key types.str "Folder for results that wait for the analyzer.";
      spool_limit = key role.size "How much results may take there.";
      metrics = key types.str "Address of GET /metrics.";
      cluster_key_file = key types.str "File with the cluster's keys, on the running system.";
      path_trace = {
        mode = key (types.enum [
          "auto"
          "on"
          "off"
        ]) "Whether the paths of probes are traced.";
        interval = key duration "How often each path is traced as far as the rates allow.";
        rate = key types.number "Upper bound of traces per second of this agent.";
        switch_rate = key types.number "Upper bound of traces per second and switch.";
        max_hops = key (types.ints.between 1 32) "The most switches on a path.";
      };
    }
    // {
      tracing.enable = lib.mkEnableOption ''
        the capabilities that following the services' own connections needs (CAP_BPF, CAP_PERFMON).
        Without them the agent probes all the same and says why it does not trace'';
    };

  config = lib.mkIf cfg.enable {
    # Its device class has to be known when the unit starts: see DeviceAllow.
    boot.kernelModules = [ "ib_uverbs" ];

    networking.firewall.allowedUDPPorts = lib.mkIf cfg.openFirewall [
      (if cfg.settings.userspace_port == null then 4791 else cfg.settings.userspace_port)
    ];

    systemd.services.rpingmesh-agent = role.unit {
      description = "rpingmesh agent";
      after = [
        "rxe.service"
        "systemd-modules-load.service"
      ];
      serviceConfig = {
        # Queue pairs and buffers of RDMA devices count as locked memory.
        LimitMEMLOCK = "infinity";
        DevicePolicy = "closed";
        DeviceAllow = "char-infiniband_verbs rw";
        # NETLINK for addresses and RDMA resources; raw sockets for what routers answer to path tracing.
        RestrictAddressFamilies = "AF_INET AF_INET6 AF_UNIX AF_NETLINK";
        AmbientCapabilities = "CAP_NET_RAW";
        CapabilityBoundingSet = "CAP_NET_RAW";
      }
      // lib.optionalAttrs cfg.tracing.enable {
        AmbientCapabilities = "CAP_NET_RAW CAP_BPF CAP_PERFMON";
        CapabilityBoundingSet = "CAP_NET_RAW CAP_BPF CAP_PERFMON";
        SystemCallFilter = "@system-service bpf perf_event_open";
      };
    };
  };
}
