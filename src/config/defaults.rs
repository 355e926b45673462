//! Every default in one place: help texts, sample files and programs agree because they come from here.

/// How often metrics are pushed to an OpenTelemetry collector.
pub const OTLP_INTERVAL: std::time::Duration = std::time::Duration::from_secs(15);

/// The agent's.
pub mod agent {
    use std::time::Duration;

    /// The controller's address when none is configured.
    pub const CONTROLLER: &str = "http://127.0.0.1:7470";
    /// The analyzer's address when none is configured.
    pub const ANALYZER: &str = "http://127.0.0.1:7471";
    /// Queue pairs of an endpoint whose driver lets only the sending queue pair decide the UDP source port.
    pub const QUEUE_PAIRS: u8 = 8;
    /// How long a probe waits for its ACKs (R-Pingmesh, section 4).
    pub const PROBE_TIMEOUT: Duration = Duration::from_millis(500);
    /// Between two probes of one service connection (R-Pingmesh, section 4).
    pub const SERVICE_PROBE_INTERVAL: Duration = Duration::from_millis(10);
    /// DSCP and ECN bits of probes and ACKs.
    pub const TRAFFIC_CLASS: u8 = 0;
    /// Upper bound over all kinds of probes, per RNIC (R-Pingmesh: below 150 packets a second).
    pub const MAX_PROBES_PER_SECOND: f64 = 150.0;
    /// Where the agent keeps what outlives it.
    pub const STATE_DIR: &str = "/var/lib/rpingmesh-agent";
    /// How much of the disk results may take while the analyzer is away.
    pub const SPOOL_LIMIT: u64 = 256 << 20;
    /// How often RNICs that appear later are looked for.
    pub const RESCAN_INTERVAL: Duration = Duration::from_secs(10);
    /// How often each path is traced.
    pub const PATH_TRACE_INTERVAL: Duration = Duration::from_mins(5);
    /// Traces per second of an agent.
    pub const PATH_TRACE_RATE: f64 = 4.0;
    /// Traces per second and switch of an agent: switches answer 100 to 1000 packets a second to all who ask.
    pub const PATH_TRACE_SWITCH_RATE: f64 = 10.0;
    /// Switches on a path: five in a fabric of three tiers, seven in one of four.
    pub const PATH_TRACE_MAX_HOPS: u8 = 8;
    /// How long the answers of one round are waited for.
    pub const PATH_TRACE_TIMEOUT: Duration = Duration::from_millis(500);
    /// How often results are put into a batch.
    pub const UPLOAD_INTERVAL: Duration = Duration::from_secs(1);
    /// How often hardware counters are read: reading those of an mlx5 port is a command to its firmware.
    pub const HARDWARE_INTERVAL: Duration = Duration::from_secs(5);
}

/// The controller's.
pub mod controller {
    use std::time::Duration;

    /// Where the gRPC service listens.
    pub const LISTEN: &str = "127.0.0.1:7470";
    /// Where the registry is kept.
    pub const STORE: &str = "sqlite:/var/lib/rpingmesh-controller/registry.db";
    /// Silence after which an agent counts as stale.
    pub const LEASE: Duration = Duration::from_secs(30);
    /// Silence after which an agent is forgotten.
    pub const RETENTION: Duration = Duration::from_mins(10);
    /// P of Eq. (1) (R-Pingmesh, section 4).
    pub const COVERAGE: f64 = 0.99;
    /// Parallel paths between two ToRs where no description of the fabric says it.
    pub const PARALLEL_PATHS: u32 = 16;
    /// ToR-mesh probes per second and RNIC (R-Pingmesh, section 4).
    pub const TOR_MESH_RATE: f64 = 10.0;
    /// Inter-ToR probes per second, link and direction (R-Pingmesh, section 4).
    pub const LINK_RATE: f64 = 10.0;
    /// Probes per second and RNIC that pinglists may ask for; leaves room for service tracing below 150.
    pub const RNIC_BUDGET: f64 = 100.0;
    /// Inter-ToR 5-tuples per RNIC.
    pub const MAX_TUPLES_PER_RNIC: u32 = 8192;
    /// How often a fifth of the 5-tuples changes.
    pub const ROTATION: Duration = Duration::from_hours(1);
}

/// The analyzer's.
pub mod analyzer {
    use std::time::Duration;

    /// Where agents upload to.
    pub const LISTEN: &str = "127.0.0.1:7471";
    /// Where the JSON API and metrics are served.
    pub const WEB: &str = "127.0.0.1:7472";
    /// Where acknowledged batches are kept.
    pub const STORE: &str = "sqlite:/var/lib/rpingmesh-analyzer/analyzer.db";
    /// How late a batch may come and still be counted into the longest window.
    pub const LATENESS: Duration = Duration::from_mins(1);
    /// How far an agent's clock may be ahead.
    pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(5);
    /// The most paths in the windows.
    pub const MAX_PATHS: usize = 500_000;
    /// The most memory of the windows, in bytes.
    pub const MEMORY_LIMIT: u64 = 1 << 30;
    /// How often the analyzer judges.
    pub const JUDGE_INTERVAL: Duration = Duration::from_secs(1);
    /// How long closed incidents are kept.
    pub const INCIDENT_RETENTION: Duration = Duration::from_hours(28 * 24);
    /// How often open alerts are told to Alertmanagers again.
    pub const ALERTS_RESEND_INTERVAL: Duration = Duration::from_mins(1);
    /// How long pictures of the matrix are kept.
    pub const HISTORY_RETENTION: Duration = Duration::from_hours(24);
}
