# Configurations whose TOML the real programs judge with check-config. `refused` is a part of the error they must give.
let
  sample = role: name: settings: {
    inherit name role;
    configuration.services.rpingmesh.${role} = {
      enable = true;
      openFirewall = true;
      inherit settings;
    };
  };
  refused =
    role: text: settings:
    sample role "refused: ${text}" settings // { refused = text; };
  tls = {
    cert = "/run/keys/rpingmesh.pem";
    key = "/run/keys/rpingmesh.key";
    ca = "/etc/rpingmesh/ca.pem";
    crl = "/etc/rpingmesh/crl.pem";
    identity = "any";
  };
  otlp = {
    endpoint = "http://collector.example:4318";
    interval = "30s";
  };
in
[
  (sample "agent" "the least" { tor = "tor0"; })
  (sample "agent" "ToR of the topology" { topology = "/etc/rpingmesh/topology.json"; })
  # Instead of gid_index.
  (sample "agent" "GIDs" {
    tor = "tor0";
    devices = [
      "mlx5_0"
      "mlx5_1"
    ];
    gids = [
      "10.0.0.1"
      "fd00::1"
    ];
  })
  (sample "agent" "every other option" {
    transport = "userspace";
    tracing = "auto";
    controller = "https://controller.example:7470";
    analyzer = "https://analyzer.example:7471";
    tor = "tor0";
    device_tors = [ "mlx5_0=tor0" ];
    lldp = "/run/rpingmesh/lldp.json";
    host = "host-a";
    agent_id = "host-a";
    devices = [
      "mlx5_0"
      "mlx5_1/1"
    ];
    gid_index = 3;
    queue_pairs = 8;
    steering = "queue-pair";
    userspace_addresses = [ "192.0.2.1" ];
    userspace_port = 4791;
    probe_timeout = "500ms";
    service_probe_interval = "20ms";
    traffic_class = 104;
    service_level = 3;
    max_probes_per_second = 150.5;
    focus_share = 0.25;
    state_dir = "/var/lib/rpingmesh-agent";
    spool_dir = "/var/lib/rpingmesh-agent";
    spool_limit = "64MiB";
    cluster_key_file = "/run/keys/cluster.keys";
    metrics = "127.0.0.1:9471";
    inherit otlp;
    path_trace = {
      mode = "on";
      interval = "1m";
      rate = 2.5;
      switch_rate = 20;
      max_hops = 6;
    };
    services = {
      rules = [ "env:JOB_NAME=batch/{1}" ];
      kubernetes = "https://node1.example:10250/pods";
      kubernetes_token = "/run/keys/kubelet.token";
      kubernetes_ca = "/run/keys/kubelet.pem";
    };
    log = {
      format = "json";
      level = "info,rpingmesh=debug";
    };
    tls = tls // {
      allow_plaintext = false;
    };
  })
  {
    role = "agent";
    name = "tracing";
    configuration.services.rpingmesh.agent = {
      enable = true;
      tracing.enable = true;
      settings = {
        tor = "tor0";
        tracing = "auto";
      };
    };
  }
  (refused "agent" "probe_timeout" {
    tor = "tor0";
    probe_timeout = "5h";
  })
  (refused "agent" "transprt" {
    tor = "tor0";
    transprt = "verbs";
  })
  (refused "agent" "tor" { })

  (sample "controller" "the least" { })
  (sample "controller" "every option" {
    listen = "0.0.0.0:7470";
    metrics = "127.0.0.1:9470";
    store = "sqlite:/var/lib/rpingmesh-controller/registry.db";
    registry = {
      lease = "30s";
      retention = "1h 30m";
    };
    pinglist = {
      seed = 7;
      coverage = 0.95;
      topology = "/etc/rpingmesh/fabric.json";
      parallel_paths = 32;
      tor_mesh_rate = 20.0;
      link_rate = 5.0;
      rnic_budget = 200.0;
      max_tuples_per_rnic = 4096;
      rotation = "2h";
      tuple_interval = "20s";
      same_rail = 0.5;
    };
    cluster_key = {
      hand_out = true;
      rotation = "7d";
      overlap = "30m";
    };
    focus = {
      analyzers = [ "analyzer.example.net" ];
      target_rate = 100.0;
      rate = 50000.0;
    };
    agents = {
      prefixes = [
        "10.0.0.0/8"
        "fd00::/8"
      ];
      probe_timeout = "1s";
      service_probe_interval = "20ms";
      max_probes_per_second = 100.0;
      traffic_class = 106;
      service_level = 3;
      upload_interval = "2s";
    };
    inherit otlp;
    log = {
      format = "text";
      level = "warn";
    };
    tls = tls // {
      allow_plaintext = false;
    };
  })
  (refused "controller" "listen" { listen = "0.0.0.0:7470"; })

  (sample "analyzer" "the least" { })
  (sample "analyzer" "every option" {
    listen = "0.0.0.0:7471";
    web = "0.0.0.0:7472";
    web_allow_remote = true;
    web_tls = true;
    web_auth_header = "X-Forwarded-User";
    web_hosts = [ "rpingmesh.example" ];
    store = "postgres://rpingmesh@db.example:5432/rpingmesh?fleet=east&sslmode=disable";
    advertise = "https://analyzer1.example.net:7471";
    advertise_web = "https://analyzer1.example.net:7472";
    lateness = "2m";
    clock_tolerance = "10s";
    max_paths = 1000000;
    memory_limit = "2GiB";
    topology = "/etc/rpingmesh/topology.json";
    judge_interval = "2s";
    least_loss = "0.01%";
    focus_controller = "https://controller.example.net:7470";
    incident_retention = "7days";
    withdrawn_retention = "3days";
    inherit otlp;
    alerts = {
      alertmanagers = [ "https://alertmanager.example:9093" ];
      webhooks = [ "https://hooks.example/rpingmesh" ];
      webhook_secret_file = "/run/keys/webhook.secret";
      labels = [ "cluster=a" ];
      resend_interval = "30s";
      external_url = "https://rpingmesh.example";
      ca = "/etc/rpingmesh/receivers-ca.pem";
    };
    history_retention = "2days";
    trend_retention = "15days";
    log = {
      format = "json";
      level = "info";
    };
    tls = tls // {
      allow_plaintext = false;
    };
  })
  (refused "analyzer" "advertise" {
    advertise = "http://analyzer1.example.net:7471";
    advertise_web = "http://analyzer1.example.net:7472";
  })
  (sample "analyzer" "alerts on this host" {
    alerts = {
      alertmanagers = [ "http://127.0.0.1:9093" ];
      webhooks = [ "http://127.0.0.1:8080/rpingmesh" ];
      webhook_secret_file = "/run/keys/webhook.secret";
    };
  })
  (refused "analyzer" "alerts.labels" { alerts.labels = [ "severity=none" ]; })
  (refused "analyzer" "web" { web = "0.0.0.0:7472"; })
]
