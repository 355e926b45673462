# A scenario of tests/vm on NixOS guests: the same scenario.toml and the same steps as `cargo xtask vm`. The contract
# between steps and harness is in tests/vm/README.md.
{
  lib,
  testers,
  name,
}:
let
  scenario = lib.importTOML (../../tests/vm + "/${name}/scenario.toml");
  folder = "/etc/rpingmesh-vm";

  # The package that has a program which scenarios may ask for.
  programs = pkgs: {
    busybox = pkgs.busybox;
    ibv_devinfo = pkgs.rdma-core;
    ibv_rc_pingpong = pkgs.rdma-core;
    ibv_ud_pingpong = pkgs.rdma-core;
    jq = pkgs.jq;
    nft = pkgs.nftables;
    modprobe = pkgs.kmod;
    rdma = pkgs.iproute2;
    rmmod = pkgs.kmod;
    setpriv = pkgs.util-linux;
    tcpdump = pkgs.tcpdump;
    tshark = pkgs.wireshark-cli;
  };
  packageOf =
    pkgs: program:
    (programs pkgs).${program}
      or (throw "tests/vm/${name}/scenario.toml wants the program `${program}`: name its package in nix/tests/scenario.nix");
  own = pkgs: {
    rpingmesh = pkgs.rpingmesh.cli;
    rpingmesh-agent = pkgs.rpingmesh.agent;
    rpingmesh-analyzer = pkgs.rpingmesh.analyzer;
    rpingmesh-controller = pkgs.rpingmesh.controller;
  };

  machine =
    node:
    { lib, ... }:
    {
      virtualisation.memorySize = lib.mkForce (lib.max 1024 (node.memory or 512));
      networking.interfaces.eth1.ipv4.addresses = lib.mkForce [
        {
          inherit (node) address;
          prefixLength = 24;
        }
      ];
      networking.rxe = lib.mkIf (node.rxe or false) {
        enable = true;
        interfaces = [ "eth1" ];
      };
    };

  # `500ms` is no wish that a scenario has: minutes and seconds are.
  seconds =
    text:
    let
      parts = builtins.match "([0-9]+)(s|m)" text;
      number = lib.toInt (builtins.head parts);
    in
    if parts == null then
      throw "tests/vm/${name}/scenario.toml: `${text}` is not a number of seconds or minutes (90s, 2m)"
    else if builtins.elemAt parts 1 == "m" then
      60 * number
    else
      number;

  variable = builtins.replaceStrings [ "-" ] [ "_" ];
  addresses = lib.concatMapStringsSep " " (
    node: "ADDRESS_${variable node.name}=${node.address}"
  ) scenario.node;
  isRxe = wanted: lib.any (node: node.name == wanted && node.rxe or false) scenario.node;
  step =
    {
      node,
      run,
      timeout ? "1m",
    }:
    let
      environment = "NODE=${node} INTERFACE=eth1 ${lib.optionalString (isRxe node) "RXE=rxe_eth1 "}${addresses}";
    in
    ''
      with subtest("${node}: ${run}"):
          step(
              ${variable node},
              "${environment} sh ${folder}/step.sh ${folder}/${name} ${run}",
              ${toString (seconds timeout)},
          )
    '';
in
testers.runNixOSTest {
  inherit name;
  globalTimeout = 3 * seconds scenario.timeout;
  defaults =
    { pkgs, ... }:
    {
      boot.kernelModules = [
        "nf_tables"
        "nfnetlink"
      ]
      ++ scenario.modules or [ ];
      environment.systemPackages =
        map (packageOf pkgs) (scenario.programs or [ ])
        ++ map (program: (own pkgs).${program}) (scenario.binaries or [ ])
        ++ lib.optional (scenario ? examples) pkgs.rpingmesh.examples
        ++ [
          pkgs.curl
          pkgs.iproute2
          pkgs.rdma-core
        ];
      environment.etc."rpingmesh-vm".source = ../../tests/vm;
      # The scenarios bring rules of their own.
      networking.firewall.enable = false;
      networking.extraHosts = lib.concatMapStringsSep "\n" (
        node: "${node.address} ${node.name}"
      ) scenario.node;
    };
  nodes = builtins.listToAttrs (
    map (node: {
      inherit (node) name;
      value = machine node;
    }) scenario.node
  );
  testScript = ''
    def step(node, command, timeout):
        status, output = node.execute(f"timeout {timeout} env {command}", timeout=timeout + 30)
        print(output)
        assert status == 0, f"the step ended with {status}"


    start_all()
    # Not `machine`: with one node that is its name, and of a narrower type.
    for each in machines:
        each.wait_for_unit("multi-user.target")
  ''
  + lib.concatMapStrings (node: ''
    ${variable node.name}.wait_for_unit("rxe.service")
    ${variable node.name}.wait_until_succeeds("rdma link show rxe_eth1/1 | grep -q 'state ACTIVE'")
  '') (builtins.filter (node: node.rxe or false) scenario.node)
  + lib.concatMapStrings step scenario.step;
}
