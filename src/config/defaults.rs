//! Figures that are no keys. The default of a key stands in its definition.

/// The agent's.
pub(crate) mod agent {
    use std::time::Duration;

    /// How often RNICs that appear later are looked for.
    pub(crate) const RESCAN_INTERVAL: Duration = Duration::from_secs(10);
    /// How long the answers of one round of path tracing are waited for.
    pub(crate) const PATH_TRACE_TIMEOUT: Duration = Duration::from_millis(500);
    /// How often results are put into a batch.
    pub(crate) const UPLOAD_INTERVAL: Duration = Duration::from_secs(1);
    /// How often hardware counters are read: reading those of an mlx5 port is a command to its firmware.
    pub(crate) const HARDWARE_INTERVAL: Duration = Duration::from_secs(5);
}
