# What the modules of the three roles share: the typed settings, the checked file, the hardened unit.
{
  config,
  lib,
  # The package of the role for the system of a `pkgs`.
  packageFor,
  pkgs,
  # "agent", "controller" or "analyzer"
  role,
}:
let
  inherit (lib) mkOption types;
  name = "rpingmesh-${role}";
  cfg = config.services.rpingmesh.${role};
  toml = pkgs.formats.toml { };

  # Keys that are not set are left to the program, whose defaults are documented in docs/config.
  isSet = value: value != null && value != { };
  dropUnset =
    value:
    if builtins.isAttrs value then
      lib.filterAttrs (_: isSet) (lib.mapAttrs (_: dropUnset) value)
    else
      value;
  settings = dropUnset cfg.settings;

  # Files that only the running system has. check-config reads them, so at build time they are left out, with what makes
  # sense only beside them; the unit checks the complete file before it starts.
  tlsFiles = [
    "cert"
    "key"
    "ca"
    "crl"
  ];
  tls = settings.tls or { };
  hasTlsFiles = lib.any (file: tls ? ${file}) tlsFiles;
  without =
    section: names:
    lib.optionalAttrs (settings ? ${section}) {
      ${section} = removeAttrs settings.${section} names;
    };
  withoutFiles =
    removeAttrs settings (
      [
        "cluster_key_file"
        "tls"
        "topology"
        "web_tls"
      ]
      # Its scheme is that of the server, which has no TLS without its files.
      ++ lib.optionals hasTlsFiles [
        "advertise"
        "advertise_web"
      ]
    )
    // lib.optionalAttrs (settings.web_tls or false) { web_allow_remote = true; }
    # The agent's ToR may come from the topology.
    // lib.optionalAttrs (role == "agent" && settings ? topology && !(settings ? tor)) {
      tor = "of-the-topology";
    }
    // without "pinglist" [ "topology" ]
    // without "alerts" (
      [
        "ca"
        "webhook_secret_file"
      ]
      # Receivers that are verified by it.
      ++ lib.optionals (settings.alerts ? ca) [
        "alertmanagers"
        "webhooks"
      ]
    )
    // {
      tls = removeAttrs tls tlsFiles // lib.optionalAttrs hasTlsFiles { allow_plaintext = true; };
    };

  file = toml.generate "${name}.toml" settings;
  inherit (pkgs.stdenv) buildPlatform hostPlatform;
  checkedFile =
    if buildPlatform.canExecute hostPlatform then
      pkgs.runCommand "${name}-checked.toml" { } ''
        ${lib.getExe cfg.package} check-config --config ${toml.generate "${name}-build.toml" withoutFiles}
        ln -s ${file} $out
      ''
    else
      file;

  # A key of the file as the program defines it. A test of the programs writes keys.json, with all of them.
  typeOf = {
    bool = _: types.bool;
    integer = key: types.ints.between key.least key.most;
    number = _: types.number;
    text = _: types.str;
    choice = key: types.enum key.choices;
    # As the programs read it: 500ms, 10s, 1h 30m.
    duration = _: types.strMatching "[0-9]+ ?[a-z]+( [0-9]+ ?[a-z]+)*";
    # 64MiB, 1GiB
    size = _: types.strMatching "[0-9]+ ?[A-Za-z]*";
  };
  option =
    key:
    let
      type = typeOf.${key.type} key;
    in
    lib.setAttrByPath key.path (mkOption {
      type = types.nullOr (if key.list then types.listOf type else type);
      default = null;
      inherit (key) description;
    });
  keys = builtins.foldl' lib.recursiveUpdate { } (map option (lib.importJSON ./keys.json).${role});
in
rec {
  inherit cfg name;

  options = {
    enable = lib.mkEnableOption "the ${role} of rpingmesh";
    package = mkOption {
      type = types.package;
      default = packageFor pkgs;
      defaultText = lib.literalMD "the flake's `packages.<system>.${role}`";
      description = "The package that has the program `${name}`.";
    };
    openFirewall = mkOption {
      type = types.bool;
      default = false;
      description = "Whether to open the ports of the ${role} in the firewall.";
    };
    settings = mkOption {
      default = { };
      description = ''
        Content of the configuration file; null leaves a key to the program. `docs/config/${role}.toml` has every key.
        Files that it names are those of the running system.
        The file is checked with `${name} check-config` when the system is built.
      '';
      type = types.submodule {
        freeformType = toml.type;
        options = keys;
      };
    };
  };

  # The same lines as packaging/systemd/${name}.service; `cargo xtask flake` compares them.
  unit =
    {
      description,
      serviceConfig,
      after ? [ ],
    }:
    {
      inherit description;
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      after = [ "network-online.target" ] ++ after;
      serviceConfig = {
        Type = "exec";
        ExecStartPre = "${lib.getExe cfg.package} check-config --config ${checkedFile}";
        ExecStart = "${lib.getExe cfg.package} run --config ${checkedFile}";
        Restart = "on-failure";
        RestartSec = "5s";
        TimeoutStopSec = "10s";
        DynamicUser = true;
        StateDirectory = name;
        StateDirectoryMode = "0700";
        UMask = "0077";
        LimitNOFILE = "524288";
        CapabilityBoundingSet = "";
        LockPersonality = true;
        MemoryDenyWriteExecute = true;
        NoNewPrivileges = true;
        PrivateTmp = true;
        ProtectClock = true;
        ProtectControlGroups = true;
        ProtectHome = true;
        ProtectHostname = true;
        ProtectKernelLogs = true;
        ProtectKernelModules = true;
        ProtectKernelTunables = true;
        ProtectSystem = "strict";
        RemoveIPC = true;
        RestrictAddressFamilies = "AF_INET AF_INET6 AF_UNIX";
        RestrictNamespaces = true;
        RestrictRealtime = true;
        RestrictSUIDSGID = true;
        SystemCallArchitectures = "native";
        SystemCallErrorNumber = "EPERM";
        SystemCallFilter = "@system-service";
      }
      // serviceConfig;
    };

  # What the file will contain, and what is checked when the system is built.
  rendered = settings;
  checkable = withoutFiles;

  # The port of `HOST:PORT`.
  portOf = address: lib.toInt (lib.last (lib.splitString ":" address));
}
