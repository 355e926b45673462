# The three roles as services of the NixOS modules: two soft-RoCE hosts probe each other, the analyzer knows of it.
{ testers, module }:
let
  monitor = "192.168.1.3";
  plaintext.tls.allow_plaintext = true;
  host =
    { pkgs, ... }:
    {
      networking.rxe = {
        enable = true;
        interfaces = [ "eth1" ];
      };
      environment.systemPackages = [ pkgs.iproute2 ];
      services.rpingmesh.agent = {
        enable = true;
        openFirewall = true;
        settings = plaintext // {
          tor = "tor0";
          transport = "verbs";
          tracing = "off";
          controller = "http://${monitor}:7470";
          analyzer = "http://${monitor}:7471";
        };
      };
    };
in
testers.runNixOSTest {
  name = "modules";
  globalTimeout = 900;
  defaults = {
    imports = [ module ];
    virtualisation.memorySize = 1024;
  };
  # The driver numbers the nodes by name: 192.168.1.1, .2, .3.
  nodes = {
    alpha = host;
    beta = host;
    monitor =
      { pkgs, ... }:
      {
        environment.systemPackages = [
          pkgs.curl
          pkgs.jq
        ];
        services.rpingmesh.controller = {
          enable = true;
          openFirewall = true;
          settings = plaintext // {
            listen = "0.0.0.0:7470";
          };
        };
        services.rpingmesh.analyzer = {
          enable = true;
          openFirewall = true;
          settings = plaintext // {
            listen = "0.0.0.0:7471";
          };
        };
      };
  };
  testScript = ''
    start_all()
    for unit in ["rpingmesh-controller", "rpingmesh-analyzer"]:
        monitor.wait_for_unit(f"{unit}.service")
    for host in [alpha, beta]:
        host.wait_for_unit("rxe.service")
        host.wait_for_unit("rpingmesh-agent.service")

    paths = "curl -fsS 'http://127.0.0.1:7472/api/v1/paths?window=20s&source={}'"
    measured = ".paths | length > 0 and any(.network_rtt != null)"
    for source in ["alpha", "beta"]:
        with subtest(f"{source} probes the other host"):
            monitor.wait_until_succeeds(f"{paths.format(source)} | jq -e '{measured}'", timeout=120)

    with subtest("the units run without privilege"):
        for host in [alpha, beta]:
            user = host.succeed("ps -o user= -C rpingmesh-agent").strip()
            assert user != "root", f"the agent runs as {user}"
  '';
}
