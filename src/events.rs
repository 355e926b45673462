//! What the roles tell whoever listens in the same process: the lab, tests.
//!
//! A role gets a [`Publisher`] when it is made and publishes [`Event`]s, whether anybody listens or not; a publisher without
//! a listener ([`Publisher::default`]) costs nothing. The listener holds the [`Events`] of [`channel`]. No event is lost:
//! while [`DEPTH`] events wait, whoever publishes the next one waits too, as long as the listener is there. The events end
//! when all publishers are gone.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::analysis::incident::Change;
use crate::analysis::report::Batch;
use crate::time::WallTime;

/// Events that wait for the listener: several rounds of batches of the largest number of agents that one machine runs.
pub const DEPTH: usize = 4_096;

/// Something has happened in a role.
#[derive(Debug, Clone)]
#[expect(
    clippy::large_enum_variant,
    reason = "an incident is the rare event, and a queue of them is short"
)]
pub enum Event {
    /// The analyzer has stored a batch. Each batch comes once, in the order of storing.
    BatchStored(Arc<Batch>),
    /// The analyzer has opened, changed or closed an incident.
    Incident {
        /// When the judge ran.
        at: WallTime,
        /// What has become of the incident.
        change: Change,
    },
}

/// The listener's end.
pub type Events = mpsc::Receiver<Event>;

/// A role's end. Clones publish to the same listener.
#[derive(Debug, Clone, Default)]
pub struct Publisher(Option<mpsc::Sender<Event>>);

/// A publisher for all roles of a process, and the listener's end.
pub fn channel() -> (Publisher, Events) {
    let (sender, events) = mpsc::channel(DEPTH);
    (Publisher(Some(sender)), events)
}

impl Publisher {
    /// Publishes what `event` makes; nothing is made where nobody listens.
    pub(crate) async fn publish(&self, event: impl FnOnce() -> Event) {
        if let Some(sender) = &self.0
            && let Ok(place) = sender.reserve().await
        {
            place.send(event());
        }
    }

    /// The same from a thread that may block.
    pub(crate) fn publish_blocking(&self, event: impl FnOnce() -> Event) {
        if let Some(sender) = self.0.as_ref().filter(|sender| !sender.is_closed()) {
            // The listener may have gone meanwhile.
            let _ = sender.blocking_send(event());
        }
    }
}
