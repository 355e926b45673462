//! What an agent tells of itself.

use crate::store::spool::Status;

/// What heartbeats tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Probes sent since the start.
    pub probes_sent: u64,
    /// Results that were dropped because the buffer was full.
    pub results_dropped: u64,
    /// Batches that the spool dropped.
    pub batches_dropped: u64,
    /// Batches that wait for the analyzer.
    pub batches_waiting: u64,
    /// The spool.
    pub spool: Status,
}
