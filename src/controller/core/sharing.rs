//! Other controllers on the same registry: what they have changed is taken over, and they are told of the agents here.
//!
//! What the registry says counts. An agent that another controller has registered meanwhile is that one's: its stream here ends, and if
//! it is still there it registers again.

use std::sync::Arc;

use super::Core;
use crate::cluster_key::Report;
use crate::controller::sharing::{BEFORE_ALL, Sharing, awaited, decoded, is_due};
use crate::id::AgentId;
use crate::store::shared::{Changes, SharedAgent, Told};
use crate::time::HostTime;

impl Core {
    /// Whether another controller does what must be done once.
    pub(super) fn is_follower(&self) -> bool {
        let sharing = self.sharing.as_ref();
        sharing.is_some_and(|sharing| !sharing.view.borrow().is_holder)
    }

    /// Whether another controller may have put another key in force than is known here.
    pub(super) fn owes_keys(&self) -> bool {
        self.sharing.as_ref().is_some_and(Sharing::owes_keys)
    }

    /// Whether the registry hangs: what can wait is not asked of it.
    pub(super) fn is_hanging(&self) -> bool {
        let sharing = self.sharing.as_ref();
        sharing.is_some_and(|sharing| sharing.is_hanging(self.clock.host()))
    }

    /// A call of the registry has failed that began at `begun`.
    pub(super) fn has_waited(&mut self, begun: HostTime) {
        if let Some(sharing) = &mut self.sharing {
            sharing.has_waited(begun, self.clock.host());
        }
    }

    /// The others are told with the next message what an agent here does with keys.
    pub(super) fn note_keys(&mut self, agent: &AgentId, report: Option<&Report>) {
        if let Some(sharing) = &mut self.sharing {
            sharing.note(agent, report);
        }
    }

    /// Takes over what others have changed, and tells them of the agents here.
    pub(super) async fn share(&mut self) {
        self.follow_others(false).await;
        self.tell_others().await;
    }

    /// Takes over what others have changed: as far as it was seen, or `at_once` what there is. False if it cannot be read.
    pub(super) async fn follow_others(&mut self, at_once: bool) -> bool {
        let now = self.clock.host();
        let Some(sharing) = &self.sharing else {
            return true;
        };
        let since = sharing.known;
        if !at_once && sharing.view.borrow().revision == since {
            return true;
        }
        if sharing.is_hanging(now)
            || (sharing.failed_at.is_some() && !is_due(sharing.failed_at, now))
        {
            return false;
        }
        let registry = Arc::clone(&sharing.registry);
        match registry.changes(since).await {
            Ok(changes) => {
                self.take_changes(changes, self.clock.host()).await;
                true
            }
            Err(error) => {
                if let Some(sharing) = &mut self.sharing {
                    sharing.has_failed(&error, now, self.clock.host());
                }
                false
            }
        }
    }

    async fn take_changes(&mut self, changes: Changes, now: HostTime) {
        let Changes {
            revision,
            agents,
            present,
        } = changes;
        if let Some(sharing) = &mut self.sharing {
            sharing.known = revision;
            if sharing.failed_at.take().is_some() {
                tracing::info!("what other controllers change is seen again");
            }
        }
        for agent in agents {
            self.adopt(agent, now);
        }
        if let Some(present) = present {
            let unstored = &self.unstored;
            let gone: Vec<_> = self
                .directory
                .agents()
                .filter(|agent| !present.contains(*agent) && !unstored.contains(agent))
                .cloned()
                .collect();
            for agent in &gone {
                tracing::warn!(%agent, "forgotten by another controller after a long silence");
            }
            if !gone.is_empty() {
                self.forget(&gone, now);
            }
        }
        if self.is_follower() && self.owes_keys() {
            self.follow_keys().await;
        }
    }

    fn adopt(&mut self, shared: SharedAgent, now: HostTime) {
        let agent = shared.announcement.agent.clone();
        if self.listening.remove(&agent).is_some() {
            tracing::info!(%agent, "another controller has registered the agent: its stream here ends");
        }
        self.unstored.drop(&agent);
        if let Some(sharing) = &mut self.sharing {
            sharing.untold.remove(&agent);
            sharing.keys.remove(&agent);
        }
        if let Some(rotation) = &mut self.keys.rotation {
            let report = match shared.keys.as_deref().map(decoded) {
                Some(Ok(report)) => report,
                Some(Err(why)) => {
                    tracing::warn!(%agent, %why, "what an agent does with keys cannot be read");
                    Some(awaited())
                }
                None => Some(awaited()),
            };
            rotation.join(agent.clone(), report);
        }
        let change = self.directory.adopt(shared, now);
        self.spread(&change, &agent);
    }

    async fn tell_others(&mut self) {
        let now = self.clock.host();
        let Some(sharing) = &mut self.sharing else {
            return;
        };
        if !is_due(sharing.told_at, now) || sharing.is_hanging(now) {
            return;
        }
        sharing.told_at = Some(now);
        sharing.untold.extend(self.directory.take_untold());
        let (mut told, mut left) = (Vec::new(), Vec::new());
        sharing.untold.retain(|agent| {
            // What the store has not taken is told when it has.
            if self.unstored.contains(agent) {
                return true;
            }
            if let Some((is_heard, machine)) = self.directory.own(agent) {
                told.push(Told {
                    agent: agent.clone(),
                    is_heard,
                    machine: machine.to_owned(),
                    keys: sharing.keys.get(agent).cloned(),
                });
                return true;
            }
            let is_gone = self.directory.announcement(agent).is_none();
            if is_gone {
                left.push(agent.clone());
            }
            is_gone
        });
        let registry = Arc::clone(&sharing.registry);
        let agents: Vec<_> = told.iter().map(|told| told.agent.clone()).collect();
        let telling = async {
            if !left.is_empty() {
                registry.leave(&left).await?;
            }
            if !told.is_empty() {
                registry.tell(told).await?;
            }
            Ok(())
        };
        match telling.await {
            Ok(()) => {
                for agent in left.iter().chain(&agents) {
                    sharing.untold.remove(agent);
                }
            }
            Err(error) => sharing.has_failed(&error, now, self.clock.host()),
        }
    }

    /// An announcement that the registry refuses in the end: its agent is not served here.
    pub(super) fn refuse_later(&mut self, agents: &[AgentId]) {
        for agent in agents {
            tracing::warn!(%agent, "the registry has given the agent's GIDs to another one meanwhile: it must register again");
        }
        if !agents.is_empty() {
            self.forget(agents, self.clock.host());
            self.hand_back(agents.iter().cloned());
        }
    }

    /// Agents that are not known here any more, and perhaps still are in the registry as those of this controller: the others are told
    /// that nobody hears them, and the whole registry is read with the next look.
    pub(super) fn hand_back(&mut self, agents: impl IntoIterator<Item = AgentId>) {
        let mut agents = agents.into_iter().peekable();
        if let Some(sharing) = &mut self.sharing
            && agents.peek().is_some()
        {
            sharing.untold.extend(agents);
            sharing.known = BEFORE_ALL;
        }
    }
}
