//! Announcements: checked one by one, stored in groups. One transaction takes all that wait, so that agents that register at once wait
//! for the disk once, not one after another.

use std::collections::HashSet;

use tokio::sync::{oneshot, watch};

use super::{Admitted, Core, Listening, Refused};
use crate::cluster_key::Report;
use crate::controller::directory::{Change, StreamId};
use crate::controller::metrics::{ByVerdict, Verdict};
use crate::controller::origin::Origin;
use crate::error::describe;
use crate::id::{AgentId, Gid, HostName};
use crate::rpc::convert::FieldError;
use crate::store::StoreError;
use crate::store::registry::Put;
use crate::time::HostTime;
use crate::topology::Announcement;

/// An announcement that waits for its answer.
pub(in crate::controller) struct Waiting {
    pub(in crate::controller) announcement: Announcement,
    /// What the agent does with keys; `None` of one that knows nothing of them.
    pub(in crate::controller) keys: Option<Report>,
    pub(in crate::controller) origin: Origin,
    pub(in crate::controller) stream: StreamId,
    pub(in crate::controller) reply: oneshot::Sender<Result<Admitted, Refused>>,
}

impl Waiting {
    fn answer(self, answer: Result<Admitted, Refused>) {
        // A session that has ended meanwhile reports its end by itself.
        let _ = self.reply.send(answer);
    }
}

/// Announcements that were checked and do not depend on each other: no agent, host or GID is in two of them.
#[derive(Default)]
struct Group {
    checked: Vec<(Waiting, Vec<AgentId>)>,
    agents: HashSet<AgentId>,
    hosts: HashSet<HostName>,
    gids: HashSet<Gid>,
}

impl Group {
    fn concerns(&self, announcement: &Announcement) -> bool {
        self.agents.contains(&announcement.agent)
            || self.hosts.contains(&announcement.host)
            || announcement
                .rnics
                .iter()
                .any(|rnic| self.gids.contains(&rnic.address.gid))
    }

    fn add(&mut self, waiting: Waiting, superseded: Vec<AgentId>) {
        let announcement = &waiting.announcement;
        self.agents.insert(announcement.agent.clone());
        self.agents.extend(superseded.iter().cloned());
        self.hosts.insert(announcement.host.clone());
        let gids = announcement.rnics.iter().map(|rnic| rnic.address.gid);
        self.gids.extend(gids);
        self.checked.push((waiting, superseded));
    }
}

impl Core {
    /// Answers announcements, in their order where they depend on each other.
    pub(super) async fn announce(&mut self, waiting: Vec<Waiting>) {
        let mut group = Group::default();
        for one in waiting {
            if group.concerns(&one.announcement) {
                self.admit(std::mem::take(&mut group)).await;
            }
            match self.check(&one) {
                Ok(superseded) => group.add(one, superseded),
                Err(refused) => self.refuse(one, refused),
            }
        }
        self.admit(group).await;
    }

    /// Which stale agents lose GIDs to the announcement, if it is accepted.
    fn check(&self, waiting: &Waiting) -> Result<Vec<AgentId>, Refused> {
        let (announcement, origin) = (&waiting.announcement, &waiting.origin);
        origin
            .identity
            .permit(&announcement.host, &announcement.agent)?;
        self.check_addresses(announcement)?;
        let superseded = self
            .directory
            .check(announcement, origin, self.clock.host())?;
        if waiting.keys.is_none() && !self.keys.admits_unable() {
            return Err(Refused::Keyless(announcement.agent.clone()));
        }
        Ok(superseded)
    }

    fn check_addresses(&self, announcement: &Announcement) -> Result<(), Refused> {
        for (index, rnic) in announcement.rnics.iter().enumerate() {
            self.addresses.check(rnic.address.gid).map_err(|why| {
                let field = format!("announcement.rnics[{index}].address.gid");
                Refused::Address(FieldError::new(field, why))
            })?;
        }
        Ok(())
    }

    fn count(&self, result: Verdict) {
        let verdict = ByVerdict { result };
        self.metrics.announcements.get_or_create(&verdict).inc();
    }

    fn refuse(&mut self, waiting: Waiting, refused: Refused) {
        self.count(refused.verdict());
        let (agent, peer) = (&waiting.announcement.agent, waiting.origin.address);
        let now = self.clock.host();
        if let Some(suppressed) = self.refusals.admit(agent, &refused.to_string(), now) {
            tracing::warn!(error = %refused, ?peer, suppressed, "an announcement was refused");
        }
        waiting.answer(Err(refused));
    }

    /// Stores a group, then accepts what the store has taken.
    async fn admit(&mut self, group: Group) {
        let refused = self.store(&group.checked).await;
        for ((waiting, superseded), refused) in group.checked.into_iter().zip(refused) {
            match refused {
                Some(refused) => self.refuse(waiting, refused),
                None => self.accept(waiting, &superseded).await,
            }
        }
    }

    async fn accept(&mut self, waiting: Waiting, superseded: &[AgentId]) {
        let Waiting {
            announcement,
            keys,
            origin,
            stream,
            reply,
        } = waiting;
        let agent = announcement.agent.clone();
        let (host, rnics) = (announcement.host.clone(), announcement.rnics.len());
        let now = self.clock.host();
        let change = self
            .directory
            .accept(announcement, superseded, (stream, origin), now);
        for loser in superseded {
            tracing::warn!(agent = %loser, by = %agent, "a stale agent lost a GID to another agent");
            self.listening.remove(loser);
        }
        self.spread(&change, &agent);
        let version = self.first_notice(&agent, &change);
        let (newest, changes) = watch::channel(version);
        let (shares, focus) = watch::channel(None);
        let listening = Listening {
            stream,
            changes: newest,
            focus: shares,
        };
        self.listening.insert(agent.clone(), listening);
        self.count(Verdict::Accepted);
        tracing::info!(%agent, %host, rnics, changed = !change.is_empty(), "registered");
        let keys = self.join_keys(agent, keys).await;
        // A session that has ended meanwhile reports its end by itself.
        let _ = reply.send(Ok(Admitted {
            version,
            changes,
            focus,
            keys,
        }));
    }

    /// What an agent is told with its registration: to fetch its list, or to wait until the next plan has one for it.
    fn first_notice(&mut self, agent: &AgentId, change: &Change) -> u64 {
        if change.membership && !self.served.contains_key(agent) && self.plans.is_outdated() {
            self.due.insert(agent.clone());
            return 0;
        }
        self.next_notice()
    }

    /// Stores what is about to be accepted; gives for each why not. A store that takes nothing is no reason to refuse an agent, whose
    /// peers would take it for dead: it is stored later.
    async fn store(&mut self, checked: &[(Waiting, Vec<AgentId>)]) -> Vec<Option<Refused>> {
        let mut refused: Vec<Option<Refused>> = checked.iter().map(|_| None).collect();
        let (mut places, mut puts) = (Vec::new(), Vec::new());
        for (place, (waiting, superseded)) in checked.iter().enumerate() {
            let announcement = &waiting.announcement;
            if self.directory.is_known(announcement) {
                continue;
            }
            if !self.unstored.is_empty() {
                // In the order in which it happened.
                self.unstored.put(&announcement.agent, superseded);
                continue;
            }
            places.push(place);
            puts.push(Put {
                announcement: announcement.clone(),
                superseded: superseded.clone(),
            });
        }
        if puts.is_empty() {
            return refused;
        }
        let begun = self.clock.host();
        match self.registry.put_all(&puts, self.clock.wall()).await {
            Ok(taken) => {
                for (place, taken) in places.into_iter().zip(taken) {
                    refused[place] = taken.map(|taken| Refused::Conflict(taken.to_string()));
                }
            }
            Err(error) => {
                for put in &puts {
                    self.unstored.put(&put.announcement.agent, &put.superseded);
                }
                self.store_failed(&error, begun);
            }
        }
        refused
    }

    /// A call that began at `begun` has failed.
    pub(super) fn store_failed(&mut self, error: &StoreError, begun: HostTime) {
        self.has_waited(begun);
        self.metrics.store_failures.inc();
        if self.unstored.begin() {
            tracing::error!(
                error = describe(error),
                "the registry cannot be stored: agents are served from memory, and it is tried again"
            );
        }
    }
}
