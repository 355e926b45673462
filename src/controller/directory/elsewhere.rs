//! Agents that other controllers on the same registry serve.

use std::collections::{BTreeSet, VecDeque};

use super::{Change, Directory, Entry, difference};
use crate::controller::origin::Origin;
use crate::id::AgentId;
use crate::store::shared::SharedAgent;
use crate::time::HostTime;

impl Directory {
    /// Takes in what another controller has stored, which is what counts: whoever had one of its GIDs has it no more.
    pub(in crate::controller) fn adopt(&mut self, shared: SharedAgent, now: HostTime) -> Change {
        let new = shared.announcement;
        let losers: BTreeSet<AgentId> = new
            .rnics
            .iter()
            .filter_map(|rnic| self.owners.get(&rnic.address.gid))
            .filter(|owner| **owner != new.agent)
            .cloned()
            .collect();
        for loser in &losers {
            self.take_gids(loser, &new);
        }
        let old = self.detach(&new.agent);
        let replaced = old
            .as_ref()
            .map_or_else(VecDeque::new, |old| old.replaced.clone());
        let mut change = match &old {
            Some(old) => difference(&old.announcement, &new),
            None => Change {
                membership: !new.rnics.is_empty(),
                ..Change::default()
            },
        };
        change.membership |= !losers.is_empty();
        // A silent one is forgotten when it has been silent for long, as far as is known here.
        let silent_since = old
            .filter(|old| old.elsewhere && !old.live && !shared.is_heard)
            .map_or(now, |old| old.renewed_at);
        self.insert(Entry {
            announcement: new,
            renewed_at: silent_since,
            live: shared.is_heard,
            elsewhere: true,
            told_live: shared.is_heard,
            stream: None,
            origin: Origin {
                machine: shared.machine,
                ..Origin::default()
            },
            replaced,
        });
        change
    }

    /// Agents that were registered here last and of which the others do not know that they are live, or that they are not. They are
    /// told now.
    pub(in crate::controller) fn take_untold(&mut self) -> Vec<AgentId> {
        let untold = self
            .agents
            .iter_mut()
            .filter(|(_, entry)| !entry.elsewhere && entry.live != entry.told_live);
        untold
            .map(|(agent, entry)| {
                entry.told_live = entry.live;
                agent.clone()
            })
            .collect()
    }

    /// Whether another controller hears an agent.
    pub(in crate::controller) fn is_served_elsewhere(&self, agent: &AgentId) -> bool {
        let entry = self.agents.get(agent);
        entry.is_some_and(|entry| entry.elsewhere && entry.live)
    }

    /// Whether an agent is live, and what it says of its machine; `None` of one that another controller has heard last.
    pub(in crate::controller) fn own(&self, agent: &AgentId) -> Option<(bool, &str)> {
        let entry = self.agents.get(agent).filter(|entry| !entry.elsewhere)?;
        Some((entry.live, &entry.origin.machine))
    }
}

#[cfg(test)]
mod tests;
