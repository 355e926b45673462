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
    role = "agent";
  };
  inherit (role) cfg;
in
{
  options.services.rpingmesh.agent = role.options // {
    tracing.enable = lib.mkEnableOption ''
      the capabilities that following the services' own connections needs (CAP_BPF, CAP_PERFMON).
      `settings.tracing = "on"` needs it. Without them the agent probes all the same and says why it does not trace'';
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
