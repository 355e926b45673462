//! What pages are made from.

use std::sync::Arc;
use std::time::Duration;

use super::cache::Cache;
use super::live::Live;
use super::matrix::Matrices;
use super::scan::Scanner;
use crate::analyzer::state::StateHandle;
use crate::analyzer::trends::TrendReader;
use crate::analyzer::view::Views;
use crate::store::history::History;
use crate::store::incidents::Incidents;
use crate::time::Clock;
use crate::topology::wiring::Wiring;

/// What the dashboard shows, and for how long.
pub(in crate::analyzer) struct DashboardInputs {
    pub(in crate::analyzer) state: StateHandle,
    pub(in crate::analyzer) views: Views,
    pub(in crate::analyzer) incidents: Arc<dyn Incidents>,
    pub(in crate::analyzer) history: Arc<dyn History>,
    pub(in crate::analyzer) trends: TrendReader,
    pub(in crate::analyzer) clock: Arc<dyn Clock>,
    /// The fabric's wiring, if it was given.
    pub(in crate::analyzer) wiring: Option<Wiring>,
    /// How long pictures of the matrix are kept.
    pub(in crate::analyzer) retention: Duration,
}

/// Everything that pages are made from.
pub(super) struct Dashboard {
    pub(super) parts: DashboardInputs,
    pub(super) matrices: Matrices,
    pub(super) scanner: Scanner,
    pub(super) cache: Cache,
    pub(super) live: Live,
    pub(super) version: String,
}
