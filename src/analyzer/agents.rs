//! What is known of each agent as a sender of batches.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::analysis::admission::Watermark;
use crate::analysis::clocks::is_corrected;
use crate::analysis::fleet::AgentState;
use crate::analysis::report::{AgentCounters, Batch, SpoolId};
use crate::analysis::shards::Held;
use crate::analysis::windows::Placement;
use crate::cluster_key::KeyUse;
use crate::id::{AgentId, AgentVersion, HostName};
use crate::time::{Nanos, WallTime};
use crate::transport::CompletionClock;

/// Agents beyond this number are served like the others but not listed.
const LISTED: usize = 100_000;
/// An agent that was silent for so long is no longer listed.
const FORGET: Duration = Duration::from_hours(24);

/// One agent. Counts are since the analyzer's start unless said otherwise.
#[derive(Debug, Clone)]
pub(super) struct Agent {
    pub(super) host: HostName,
    /// Of its program; `None` until it has uploaded since the analyzer's start, and where it does not tell.
    pub(super) version: Option<AgentVersion>,
    pub(super) spool: SpoolId,
    /// The last batch taken.
    pub(super) sequence: u64,
    /// When it was taken.
    pub(super) last_upload: WallTime,
    /// The end of its interval, by the agent's clock.
    pub(super) last_interval_end: WallTime,
    /// How long after that end it was taken; negative when the agent's clock is ahead.
    pub(super) lateness: Nanos,
    /// By how much its clock is ahead, by estimate; negative when it is behind, zero when it is right.
    pub(super) clock: Nanos,
    pub(super) batches: u64,
    pub(super) duplicates: u64,
    /// Batches that the agent skipped, since the spool was first seen.
    pub(super) lost_batches: u64,
    /// What is there of its spool, where several analyzers share the fleet.
    pub(super) held: Option<Held>,
    pub(super) late_batches: u64,
    pub(super) late_results: u64,
    pub(super) future_batches: u64,
    pub(super) future_results: u64,
    pub(super) refused_reports: u64,
    /// A report of the last batch of which some were refused, and why.
    pub(super) last_refusal: Option<String>,
    pub(super) counters: AgentCounters,
    /// What it says of itself; `None` until it has since the analyzer's start, and where it does not tell.
    pub(super) state: Option<AgentState>,
}

#[derive(Debug, Default)]
pub(super) struct Agents {
    all: BTreeMap<AgentId, Agent>,
}

impl Agents {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&AgentId, &Agent)> {
        self.all.iter()
    }

    pub(super) fn get(&self, id: &AgentId) -> Option<&Agent> {
        self.all.get(id)
    }

    /// How many agents run each version, the most common first; `None` where it is not known.
    pub(super) fn versions(&self) -> Vec<(Option<AgentVersion>, usize)> {
        let mut counts: BTreeMap<Option<&AgentVersion>, usize> = BTreeMap::new();
        for agent in self.all.values() {
            *counts.entry(agent.version.as_ref()).or_default() += 1;
        }
        let mut counts: Vec<_> = counts
            .into_iter()
            .map(|(version, count)| (version.cloned(), count))
            .collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counts
    }

    /// How many agents sign alike, the most common first; `None` where it is not known.
    pub(super) fn key_uses(&self) -> Vec<(Option<KeyUse>, usize)> {
        let mut counts: BTreeMap<Option<KeyUse>, usize> = BTreeMap::new();
        for agent in self.all.values() {
            let keys = agent.state.as_ref().and_then(|state| state.keys);
            *counts.entry(keys).or_default() += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counts
    }

    /// How many RNICs have completions that are stamped alike, the most common first.
    pub(super) fn clocks(&self) -> Vec<(CompletionClock, usize)> {
        let states = self.all.values().filter_map(|agent| agent.state.as_ref());
        let clocks: Vec<_> = states
            .flat_map(|state| &state.rnics)
            .filter_map(|rnic| rnic.clock)
            .collect();
        let count = |clock| clocks.iter().filter(|one| **one == clock).count();
        let mut counts: Vec<_> = CompletionClock::ALL
            .into_iter()
            .map(|clock| (clock, count(clock)))
            .filter(|(_, count)| *count > 0)
            .collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counts
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Agents that say that something is off, with what they say.
    pub(super) fn degraded(&self) -> impl Iterator<Item = (&AgentId, &Agent, &[String])> {
        self.all.iter().filter_map(|(id, agent)| {
            let lines = agent.state.as_ref()?.degraded.as_slice();
            (!lines.is_empty()).then_some((id, agent, lines))
        })
    }

    /// 5-tuples of the pinglists of all agents that tell.
    pub(super) fn tuples(&self) -> u64 {
        let states = self.all.values().filter_map(|agent| agent.state.as_ref());
        states.fold(0, |sum, state| sum.saturating_add(state.tuples))
    }

    /// The agent, made from its watermark if it is new; `None` when no more are listed.
    pub(super) fn of(&mut self, mark: &Watermark) -> Option<&mut Agent> {
        if !self.all.contains_key(&mark.sender.agent) {
            if self.all.len() >= LISTED {
                return None;
            }
            self.all.insert(mark.sender.agent.clone(), Agent::new(mark));
        }
        self.all.get_mut(&mark.sender.agent)
    }

    pub(super) fn expire(&mut self, now: WallTime) {
        self.all
            .retain(|_, agent| now.since(agent.last_upload) < FORGET);
    }
}

impl Agent {
    fn new(mark: &Watermark) -> Self {
        Self {
            host: mark.host.clone(),
            version: None,
            spool: mark.sender.spool,
            sequence: mark.sequence,
            last_upload: mark.updated,
            last_interval_end: mark.updated,
            lateness: Nanos::ZERO,
            clock: Nanos::ZERO,
            batches: 0,
            duplicates: 0,
            lost_batches: mark.lost,
            held: None,
            late_batches: 0,
            late_results: 0,
            future_batches: 0,
            future_results: 0,
            refused_reports: 0,
            last_refusal: None,
            counters: AgentCounters::default(),
            state: None,
        }
    }

    /// Takes over what the watermark says; a mark of an older spool says nothing. Nothing is older than an agent of which no batch
    /// was taken: what it says of itself may come first. A spool that has gone on is newer, too, when this clock was set back.
    pub(super) fn follow(&mut self, mark: &Watermark) {
        let goes_on = mark.sender.spool == self.spool && mark.sequence > self.sequence;
        if mark.updated >= self.last_upload || self.sequence == 0 || goes_on {
            self.host = mark.host.clone();
            self.spool = mark.sender.spool;
            self.sequence = mark.sequence;
            self.last_upload = mark.updated;
            self.lost_batches = mark.lost;
        }
    }

    /// Takes a batch, which is moved by `clock` where that could be corrected.
    pub(super) fn took(
        &mut self,
        batch: &Batch,
        placement: Placement,
        (clock, now): (Nanos, WallTime),
    ) {
        let moved = if is_corrected(clock) {
            clock
        } else {
            Nanos::ZERO
        };
        let results = batch
            .paths
            .iter()
            .fold(0u64, |sum, report| sum.saturating_add(report.sent()));
        self.batches += 1;
        self.last_interval_end = batch.interval.end + moved;
        self.lateness = now - self.last_interval_end;
        self.clock = clock;
        self.counters = batch.counters;
        match placement {
            Placement::Counted => {}
            Placement::Late(_) => {
                self.late_batches += 1;
                self.late_results = self.late_results.saturating_add(results);
            }
            Placement::Future(_) => {
                self.future_batches += 1;
                self.future_results = self.future_results.saturating_add(results);
            }
        }
    }
}
