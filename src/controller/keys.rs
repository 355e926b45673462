//! What the controller knows of the cluster's key, without I/O: the state machine of its phases, what agents are told, and what was
//! reported.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::cluster_key::rotation::{Rotation, Spans, Standing, Stored};
use crate::cluster_key::{Order, Phase};
use crate::id::AgentId;
use crate::time::HostTime;
use crate::wire::Fingerprint;

/// A phase that waits for agents for so long is reported.
const LONG_WAIT: Duration = Duration::from_mins(10);

/// What the core knows of the cluster's key.
pub(super) struct Keys {
    /// `None` where none is handed out.
    pub(super) rotation: Option<Rotation>,
    /// What agents are told; `None` until the store has answered.
    pub(super) orders: watch::Sender<Option<Arc<Order>>>,
    pub(super) stepped: Option<HostTime>,
    /// Since when the present phase lasts, and whether it was reported that it waits.
    phase_since: HostTime,
    is_wait_reported: bool,
    /// What is in force is not stored yet.
    pub(super) is_unstored: bool,
    /// The last failure that was reported.
    trouble: Option<String>,
}

/// Where the cluster's key stands, for people.
#[derive(Debug, Clone, Default)]
pub(super) struct KeysSummary {
    /// Number, phase and fingerprint of the newest key; `None` where none is handed out yet.
    pub(super) key: Option<(u64, Phase, Fingerprint)>,
    /// When the phase began, in nanoseconds since the epoch.
    pub(super) since_unix_ns: i64,
    /// How the agents stand to it.
    pub(super) standing: Standing,
}

impl Keys {
    /// Of a controller that starts with these agents registered; without spans no key is handed out.
    pub(super) fn new(
        spans: Option<Spans>,
        agents: impl Iterator<Item = AgentId>,
        now: HostTime,
    ) -> Self {
        Self {
            rotation: spans.map(|spans| Rotation::new(spans, agents, now)),
            orders: watch::Sender::new(None),
            stepped: None,
            phase_since: now,
            is_wait_reported: false,
            is_unstored: false,
            trouble: None,
        }
    }

    /// Whether an agent that knows nothing of keys can be probed by the others.
    pub(super) fn admits_unable(&self) -> bool {
        self.rotation.as_ref().is_none_or(Rotation::admits_unable)
    }

    /// An agent is not registered any more.
    pub(super) fn forget(&mut self, agent: &AgentId) {
        if let Some(rotation) = &mut self.rotation {
            rotation.forget(agent);
        }
    }

    pub(super) fn summary(&self) -> KeysSummary {
        let Some(rotation) = &self.rotation else {
            return KeysSummary::default();
        };
        let state = rotation.state();
        KeysSummary {
            key: state.map(|state| {
                let print = state.master.secret(state.generation).fingerprint();
                (state.generation.0, state.phase, print)
            }),
            since_unix_ns: state.map_or(0, |state| state.begun.nanos()),
            standing: rotation.standing(),
        }
    }

    pub(super) fn enter(&mut self, state: Stored, now: HostTime) {
        let Some(rotation) = &mut self.rotation else {
            return;
        };
        tracing::info!(
            generation = state.generation.0,
            phase = state.phase.name(),
            fingerprint = %state.master.secret(state.generation).fingerprint(),
            "the cluster's key"
        );
        rotation.enter(state, now);
        (self.phase_since, self.is_wait_reported) = (now, false);
        self.orders.send_replace(rotation.order().map(Arc::new));
    }

    /// Says once for each reason why the store fails, and that it works again.
    pub(super) fn report(&mut self, result: Result<(), String>) {
        match result {
            Ok(()) => {
                if self.trouble.take().is_some() {
                    tracing::info!("the cluster's key is stored again");
                }
            }
            Err(error) => {
                if self.trouble.as_ref() != Some(&error) {
                    tracing::error!(
                        error,
                        "the cluster's key cannot be read or stored: its phase does not change, and it is tried again"
                    );
                    self.trouble = Some(error);
                }
            }
        }
    }

    pub(super) fn report_wait(&mut self, now: HostTime) {
        let Some(rotation) = &self.rotation else {
            return;
        };
        let phase = rotation.state().map(|state| state.phase);
        if self.is_wait_reported
            || phase.is_none_or(|phase| phase == Phase::Steady)
            || now.since(self.phase_since) < LONG_WAIT
        {
            return;
        }
        let standing = rotation.standing();
        if standing.names.is_empty() {
            return;
        }
        self.is_wait_reported = true;
        tracing::warn!(
            phase = phase.map_or("", Phase::name),
            awaited = standing.awaited,
            unable = standing.unable,
            some = ?standing.names.iter().map(AgentId::as_str).collect::<Vec<_>>(),
            "the cluster's key waits for agents: those that are away until they are back or forgotten, those of older \
             versions until they are updated"
        );
    }
}
