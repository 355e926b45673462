//! What the judging task publishes and readers see: pages, API, metrics.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::analysis::incident::Incident;
use crate::analysis::judge::Judgement;
use crate::pinglist::focus::FocusCounts;
use crate::time::WallTime;

/// What the readers see.
#[derive(Debug, Clone, Default)]
pub(super) struct View {
    /// Open incidents, the worst first.
    pub(super) open: Vec<Incident>,
    /// What the last run said.
    pub(super) judgement: Judgement,
    /// Runs since the start.
    pub(super) runs: u64,
    /// How long the last run took.
    pub(super) took: Duration,
    /// Changes that the store has not taken yet.
    pub(super) waiting: usize,
    /// Where topology and reports differ.
    pub(super) differences: Vec<String>,
    /// 5-tuples that are known by a trace.
    pub(super) traced: usize,
    /// Those of them whose traces contradict each other: switches spray their packets.
    pub(super) sprayed: usize,
    /// RNICs or hosts of the topology file that report nothing.
    pub(super) missing: usize,
    /// What a controller has made of what it is told to probe more; `None` where none is told.
    pub(super) focus: Option<Told>,
}

/// A controller that is told what to probe more.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Told {
    /// What it has made of the newest request that it took.
    pub(super) passed: Option<Passed>,
}

/// When the controller took a request, and what it has made of it.
pub(super) type Passed = (WallTime, FocusCounts);

/// The newest [`View`].
#[derive(Debug, Clone, Default)]
pub(super) struct Views(Arc<RwLock<Arc<View>>>);

impl Views {
    pub(super) fn get(&self) -> Arc<View> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set(&self, view: View) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
    }
}
