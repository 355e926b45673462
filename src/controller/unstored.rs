//! What the registry's store has not taken yet: agents that were announced or forgotten while it could not be written.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::directory::Directory;
use crate::id::AgentId;
use crate::store::StoreError;
use crate::store::registry::{Registry, RegistryError};
use crate::time::{HostTime, WallTime};

/// Between two attempts.
const PAUSE: Duration = Duration::from_secs(5);

/// Agents whose row differs from what is served.
#[derive(Debug, Default)]
pub(super) struct Unstored {
    /// With the agents that lost GIDs to them.
    announced: BTreeMap<AgentId, BTreeSet<AgentId>>,
    forgotten: BTreeSet<AgentId>,
    /// The store keeps their GIDs for agents that other controllers hear.
    refused: BTreeSet<AgentId>,
    /// The failure was reported.
    is_reported: bool,
    /// When the last attempt ended.
    tried: Option<HostTime>,
}

impl Unstored {
    pub(super) fn is_empty(&self) -> bool {
        self.announced.is_empty() && self.forgotten.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.announced.len()
    }

    /// Notes an announcement.
    pub(super) fn put(&mut self, agent: &AgentId, superseded: &[AgentId]) {
        self.forgotten.remove(agent);
        let losers = self.announced.entry(agent.clone()).or_default();
        losers.extend(superseded.iter().cloned());
    }

    /// Notes agents that were forgotten.
    pub(super) fn remove(&mut self, agents: &[AgentId]) {
        for agent in agents {
            self.announced.remove(agent);
            self.forgotten.insert(agent.clone());
        }
    }

    /// Whether this failure is the first of several.
    pub(super) fn begin(&mut self) -> bool {
        !std::mem::replace(&mut self.is_reported, true)
    }

    /// Whether it is time to try again.
    pub(super) fn is_due(&self, now: HostTime) -> bool {
        self.tried.is_none_or(|tried| now.since(tried) >= PAUSE)
    }

    /// An attempt has ended.
    pub(super) fn has_tried(&mut self, now: HostTime) {
        self.tried = Some(now);
    }

    /// Leaves it to another controller which agents are forgotten: those that were.
    pub(super) fn leave_departures(&mut self) -> BTreeSet<AgentId> {
        std::mem::take(&mut self.forgotten)
    }

    /// Whether an agent waits to be stored.
    pub(super) fn contains(&self, agent: &AgentId) -> bool {
        self.announced.contains_key(agent)
    }

    /// Another controller has stored the agent.
    pub(super) fn drop(&mut self, agent: &AgentId) {
        self.announced.remove(agent);
        self.forgotten.remove(agent);
    }

    /// Stores everything. What was stored before a failure is not stored again. Gives the agents whose GIDs another controller has
    /// registered for others meanwhile.
    pub(super) async fn store(
        &mut self,
        registry: &dyn Registry,
        directory: &Directory,
        now: WallTime,
    ) -> Result<Vec<AgentId>, StoreError> {
        let forgotten: Vec<_> = self.forgotten.iter().cloned().collect();
        if !forgotten.is_empty() {
            match registry.remove(&forgotten).await {
                Ok(()) => self.forgotten.clear(),
                Err(RegistryError::Store(error)) => return Err(error),
                // Nothing to take is removed.
                Err(RegistryError::GidTaken { .. }) => {}
            }
        }
        while let Some((agent, losers)) = self.announced.first_key_value() {
            let (agent, mut losers) = (agent.clone(), losers.clone());
            if let Some(announcement) = directory.announcement(&agent) {
                loop {
                    let superseded: Vec<_> = losers.iter().cloned().collect();
                    match registry.put(announcement, &superseded, now).await {
                        Ok(()) => break,
                        Err(RegistryError::Store(error)) => return Err(error),
                        // Whoever has the GID in the store does not have it any more.
                        Err(RegistryError::GidTaken { owner, .. }) => {
                            if !losers.insert(owner) {
                                self.refused.insert(agent.clone());
                                break;
                            }
                        }
                    }
                }
            }
            self.announced.remove(&agent);
        }
        let refused = std::mem::take(&mut self.refused);
        *self = Self::default();
        Ok(refused.into_iter().collect())
    }
}
