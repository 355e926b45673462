//! The cluster's key in the core: reads it from the store, stores what is in force before agents are told, and shows how far it is.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::Core;
use crate::cluster_key::rotation::Stored;
use crate::cluster_key::{Held, Master, Order, Phase, Report};
use crate::controller::keys::KeysSummary;
use crate::controller::metrics::{ByPhase, ByStanding, KeyStanding, set};
use crate::controller::sharing::Sharing;
use crate::id::AgentId;
use crate::store::registry::RegistryError;

/// How often it is looked whether the next phase can begin, and a store that fails is tried again.
const STEP: Duration = Duration::from_secs(1);

impl Core {
    /// An agent has registered. Gives what it is told of keys, if it takes any from here.
    pub(super) async fn join_keys(
        &mut self,
        agent: AgentId,
        report: Option<Report>,
    ) -> Option<watch::Receiver<Option<Arc<Order>>>> {
        self.note_keys(&agent, report.as_ref());
        self.keys.rotation.as_ref()?;
        let held = match &report {
            Some(Report::Held(held)) => Some(held.clone()),
            Some(Report::Own) | None => None,
        };
        if let Some(held) = &held {
            self.follow_agent(held).await;
        }
        self.keys.rotation.as_mut()?.join(agent, report);
        held.map(|_| self.keys.orders.subscribe())
    }

    /// A registered agent has followed an order.
    pub(super) async fn holds(&mut self, agent: &AgentId, held: Held) {
        self.note_keys(agent, Some(&Report::Held(held.clone())));
        self.follow_agent(&held).await;
        if let Some(rotation) = &mut self.keys.rotation {
            rotation.confirm(agent, held);
        }
    }

    /// Goes on where the agents are, if the store is an older copy or another one.
    async fn follow_agent(&mut self, held: &Held) {
        if self.is_follower() || (self.owes_keys() && !self.follow_keys().await) {
            return;
        }
        let (now, wall) = (self.clock.host(), self.clock.wall());
        let rotation = self.keys.rotation.as_ref();
        let Some(state) = rotation.and_then(|rotation| rotation.overtaken_by(held, now, wall))
        else {
            return;
        };
        tracing::warn!(
            generation = state.generation.0,
            phase = state.phase.name(),
            "an agent has keys that the registry does not know of: the registry is an older copy or another one, and the \
             cluster's key goes on from there"
        );
        // Agents follow it already: it is in force whether it can be stored or not.
        self.keys.is_unstored = !self.put_keys(&state).await;
        self.keys.enter(state, now);
    }

    pub(super) fn rotate_key(&mut self) {
        match &mut self.keys.rotation {
            Some(rotation) => {
                tracing::info!(
                    "the next key is wanted: it is offered when the present one is steady"
                );
                rotation.want();
            }
            None => tracing::warn!("the next key is wanted, and no key is handed out: ignored"),
        }
    }

    /// Begins the next phase when it is due.
    pub(super) async fn step_keys(&mut self) {
        let now = self.clock.host();
        if self.keys.rotation.is_none()
            || self.keys.stepped.is_some_and(|last| now.since(last) < STEP)
            || self.is_hanging()
        {
            return;
        }
        self.keys.stepped = Some(now);
        if self.is_follower() {
            let rotation = self.keys.rotation.as_ref();
            if self.owes_keys() || rotation.is_some_and(|rotation| rotation.state().is_none()) {
                self.follow_keys().await;
            }
            return self.show_keys();
        }
        // Who takes the lease over begins with what its predecessor has stored.
        if self.owes_keys() && !self.follow_keys().await {
            return self.show_keys();
        }
        let wall = self.clock.wall();
        let rotation = self.keys.rotation.as_ref();
        match rotation.map(|rotation| (rotation.state().cloned(), rotation.due(now, wall))) {
            Some((None, _)) => self.begin_keys().await,
            Some((Some(state), _)) if self.keys.is_unstored => {
                self.keys.is_unstored = !self.put_keys(&state).await;
            }
            Some((Some(_), Some(next))) => {
                if self.put_keys(&next).await {
                    self.keys.enter(next, now);
                }
            }
            Some((Some(_), None)) | None => {}
        }
        self.keys.report_wait(now);
        self.show_keys();
    }

    /// Reads what is in force from the store, or makes the first key.
    async fn begin_keys(&mut self) {
        let found = match self.registry.load_keys().await {
            Ok(found) => found,
            Err(error) => return self.keys.report(Err(error.to_string())),
        };
        let now = self.clock.host();
        if let Some(state) = found {
            self.keys.report(Ok(()));
            return self.keys.enter(state, now);
        }
        let Some(master) = Master::new(&rand::random::<[u8; 32]>()) else {
            return;
        };
        let state = Stored::first(master, self.clock.wall());
        if self.put_keys(&state).await {
            self.keys.enter(state, now);
        }
    }

    /// Goes on with the key that another controller has put in force. False if that cannot be read: it is tried again with a later
    /// step.
    pub(super) async fn follow_keys(&mut self) -> bool {
        let Some(rotation) = &self.keys.rotation else {
            return true;
        };
        if self.is_hanging() {
            return false;
        }
        let state = rotation.state().cloned();
        let read = self.sharing.as_ref().map(Sharing::keys_now);
        let begun = self.clock.host();
        let found = match self.registry.load_keys().await {
            Ok(found) => found,
            Err(error) => {
                self.has_waited(begun);
                self.keys.report(Err(error.to_string()));
                return false;
            }
        };
        self.keys.report(Ok(()));
        if let Some(sharing) = &mut self.sharing {
            sharing.keys_read = read;
        }
        // What agents follow already, and could not be stored, is stored again by the holder.
        let is_ahead = |found: &Stored| {
            let ahead = state.as_ref().filter(|_| self.keys.is_unstored);
            ahead.is_some_and(|own| {
                own.master == found.master && own.generation.0 > found.generation.0
            })
        };
        let found = found.filter(|found| state.as_ref() != Some(found));
        if let Some(found) = found.filter(|found| self.is_follower() || !is_ahead(found)) {
            self.keys.is_unstored = false;
            self.keys.enter(found, self.clock.host());
        }
        true
    }

    async fn put_keys(&mut self, state: &Stored) -> bool {
        let begun = self.clock.host();
        let result = self.registry.put_keys(state).await;
        if let Err(RegistryError::Store(_)) = &result {
            self.has_waited(begun);
            self.metrics.store_failures.inc();
        }
        let is_stored = result.is_ok();
        self.keys.report(result.map_err(|error| error.to_string()));
        is_stored
    }

    fn show_keys(&self) {
        let KeysSummary { key, standing, .. } = self.keys.summary();
        let generation = key.map_or(0, |(generation, _, _)| generation);
        self.metrics
            .cluster_key_generation
            .set(i64::try_from(generation).unwrap_or(i64::MAX));
        for phase in Phase::ALL {
            let is_it = key.is_some_and(|(_, present, _)| present == phase);
            let label = ByPhase {
                phase: phase.name(),
            };
            let gauge = self.metrics.cluster_key_phase.get_or_create(&label);
            gauge.set(is_it.into());
        }
        let counts = [
            (KeyStanding::Ready, standing.ready),
            (KeyStanding::Awaited, standing.awaited),
            (KeyStanding::Unable, standing.unable),
            (KeyStanding::Own, standing.own),
        ];
        for (state, count) in counts {
            let gauge = self
                .metrics
                .cluster_key_agents
                .get_or_create(&ByStanding { state });
            set(&gauge, count);
        }
    }
}
