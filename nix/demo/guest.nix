# Two dashboards on the loopback of the machine that boots the guest: http://127.0.0.1:7472 of the three roles, which run as
# services, http://127.0.0.1:7482 of the lab. Two agents on two addresses of the guest probe each other in user space.
{
  lib,
  pkgs,
  self,
  ...
}:
let
  inherit (self.packages.${pkgs.stdenv.hostPlatform.system}) agent cli;
  addresses = [
    "10.77.0.1"
    "10.77.0.2"
  ];
  dashboard = 7472;
  lab = 7482;
  ports = [
    dashboard
    lab
  ];
  # The lab serves on loopback only.
  labInside = "127.0.0.1:7483";
  settings = {
    tor = "tor0";
    transport = "userspace";
    tracing = "off";
  };
in
{
  networking.hostName = "rpingmesh-demo";
  system.stateVersion = "26.05";
  services.getty.autologinUser = "root";
  environment.systemPackages = [ cli ];

  virtualisation = {
    graphics = false;
    memorySize = 2048;
    cores = 2;
    forwardPorts = map (port: {
      from = "host";
      host.address = "127.0.0.1";
      host.port = port;
      guest.port = port;
    }) ports;
  };
  networking.firewall.allowedTCPPorts = ports;
  networking.interfaces.lo.ipv4.addresses = map (address: {
    inherit address;
    prefixLength = 32;
  }) addresses;

  services.rpingmesh = {
    controller.enable = true;
    analyzer = {
      enable = true;
      settings = {
        web = "0.0.0.0:${toString dashboard}";
        web_allow_remote = true;
      };
    };
    agent = {
      enable = true;
      settings = settings // {
        userspace_addresses = [ (builtins.head addresses) ];
      };
    };
  };

  systemd.services = {
    # The module has one agent a host.
    rpingmesh-agent-2 = {
      description = "rpingmesh agent of a second host";
      wantedBy = [ "multi-user.target" ];
      after = [ "network-online.target" ];
      wants = [ "network-online.target" ];
      serviceConfig = {
        ExecStart = lib.concatStringsSep " " [
          (lib.getExe agent)
          "run --host rpingmesh-demo-2 --agent-id rpingmesh-demo-2"
          "--tor ${settings.tor} --transport ${settings.transport} --tracing ${settings.tracing}"
          "--userspace-addresses ${lib.last addresses} --state-dir /var/lib/rpingmesh-agent-2"
        ];
        DynamicUser = true;
        StateDirectory = "rpingmesh-agent-2";
        Restart = "on-failure";
      };
    };
    rpingmesh-lab = {
      description = "rpingmesh's lab: a link that loses packets for a minute";
      wantedBy = [ "multi-user.target" ];
      serviceConfig = {
        ExecStart = "${lib.getExe cli} lab --duration 1h --web ${labInside} --fault 'link spine1-tor3 loss=5%% at=1m for=1m'";
        DynamicUser = true;
        Restart = "always";
      };
    };
    rpingmesh-lab-proxy = {
      description = "The lab's dashboard for the machine that boots the guest";
      serviceConfig.ExecStart = "${pkgs.systemd}/lib/systemd/systemd-socket-proxyd ${labInside}";
    };
  };
  systemd.sockets.rpingmesh-lab-proxy = {
    wantedBy = [ "sockets.target" ];
    listenStreams = [ "0.0.0.0:${toString lab}" ];
  };
}
