//! What all tasks of an analyzer that shares the fleet know.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use super::log::SharedLog;
use crate::analysis::shards::MemberId;
use crate::analyzer::metrics::Metrics;
use crate::store::analyzers::AnalyzerFleet;

/// What all tasks here know.
#[derive(Clone)]
pub(super) struct Here {
    pub(super) id: MemberId,
    pub(super) fleet: watch::Receiver<Arc<AnalyzerFleet>>,
    /// When this analyzer had its place, and its lease if it judges, for sure.
    pub(super) renewed: watch::Receiver<Instant>,
    pub(super) log: SharedLog,
    pub(super) metrics: Arc<Metrics>,
}
