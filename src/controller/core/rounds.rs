//! Plans, and rounds of lists: who gets a new list, and when.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::{Core, ListAnswer};
use crate::controller::directory::Change;
use crate::controller::metrics::set;
use crate::id::AgentId;
use crate::pinglist::{Changed, PinglistPlan};

/// Agents told of a round per tick: 400 per second, each of which then fetches its list.
const AGENTS_PER_TICK: usize = 40;
/// Cost of a plan up to which each change makes a new one.
const CHEAP_PLAN: Duration = Duration::from_millis(5);
/// Between two costlier plans so many times the cost of one passes: the core has three quarters of its time for answers.
const PLAN_PAUSE: u32 = 3;
/// Pairs without full coverage that are logged one by one.
const SHORTFALL_LINES: usize = 5;

impl Core {
    /// Makes a change known to those whom it concerns.
    pub(super) fn spread(&mut self, change: &Change, by: &AgentId) {
        if change.membership {
            self.outdate();
            self.round_due = true;
        }
        if change.readdressed.is_empty() {
            return;
        }
        // Who probes whom follows from the RNICs' places, which have not changed: the plan at hand will do.
        let plan = self.plan();
        let mut concerned = BTreeSet::new();
        for (tor, gid) in &change.readdressed {
            concerned.append(&mut plan.probers_of(tor, *gid));
        }
        self.outdate();
        concerned.remove(by);
        if self.is_outdated {
            self.due.append(&mut concerned);
        }
        for agent in concerned {
            self.push(&agent);
        }
    }

    /// The topology has changed: the next list needs a new plan, or the next tick if that is costly.
    pub(super) fn outdate(&mut self) {
        if self.plan_cost <= CHEAP_PLAN {
            self.plan = None;
        } else {
            self.is_outdated = true;
        }
    }

    pub(super) fn plan(&mut self) -> Arc<PinglistPlan> {
        if let Some(plan) = &self.plan {
            return plan.clone();
        }
        let (topology, policy) = (self.directory.topology(), self.policy.clone());
        let start = self.clock.host();
        let plan = Arc::new(PinglistPlan::new(topology, policy, self.clock.wall()));
        self.planned = self.clock.host();
        self.plan_cost = self.planned.since(start);
        self.is_outdated = false;
        self.plan = Some(plan.clone());
        plan
    }

    pub(super) fn version(&mut self, agent: &AgentId) -> u64 {
        match self.versions.get(agent) {
            Some(version) => *version,
            None => self.raise(agent),
        }
    }

    pub(super) fn raise(&mut self, agent: &AgentId) -> u64 {
        self.last_version += 1;
        self.versions.insert(agent.clone(), self.last_version);
        self.last_version
    }

    pub(super) fn push(&mut self, agent: &AgentId) {
        let version = self.raise(agent);
        if let Some(listening) = self.listening.get(agent) {
            listening.changes.send_replace(version);
            self.metrics.changes_pushed.inc();
        }
    }

    pub(super) fn pinglist(&mut self, agent: &AgentId, known: u64) -> ListAnswer {
        if self.directory.announcement(agent).is_none() {
            return ListAnswer::UnknownAgent;
        }
        let version = self.version(agent);
        if version == known {
            return ListAnswer::Unchanged(version);
        }
        let plan = self.plan();
        // The plans before and after may give it another list than this one.
        if self.is_outdated || self.round_due {
            self.due.insert(agent.clone());
        }
        match self.directory.announcement(agent) {
            Some(announcement) => ListAnswer::Changed {
                version,
                announcement: announcement.clone(),
                plan,
            },
            None => ListAnswer::UnknownAgent,
        }
    }

    pub(super) async fn tick(&mut self) {
        self.expire(self.clock.host()).await;
        self.store_again().await;
        self.step_keys().await;
        let period = self.policy.period(self.clock.wall());
        if std::mem::replace(&mut self.period, period) != period {
            self.plan = None;
            self.round_due = true;
        }
        self.begin_round();
        for _ in 0..AGENTS_PER_TICK.min(self.round.len()) {
            if let Some(agent) = self.round.pop_front() {
                self.push(&agent);
            }
        }
        let census = self.directory.census();
        set(&self.metrics.live_agents, census.live);
        set(&self.metrics.stale_agents, census.stale);
        set(&self.metrics.rnics, census.rnics);
        set(&self.metrics.tors, census.tors);
    }

    /// Decides whom a changed topology or a new rotation concerns.
    fn begin_round(&mut self) {
        if self.is_outdated {
            if self.clock.host().since(self.planned) < self.plan_cost * PLAN_PAUSE {
                return;
            }
            self.plan = None;
        }
        let mut concerned = std::mem::take(&mut self.due);
        if std::mem::take(&mut self.round_due) {
            let plan = self.plan();
            let changed = match &self.announced {
                Some(announced) => plan.changed_since(announced),
                None => Changed::All,
            };
            match changed {
                // The lists that the round under way has not reached yet will be new as well; the others have their turn next.
                Changed::All if !self.round.is_empty() => self.round_due = true,
                Changed::All => {
                    self.announced = Some(plan);
                    self.round = self.directory.agents().cloned().collect();
                    self.report();
                }
                Changed::Agents(mut agents) => {
                    self.announced = Some(plan);
                    concerned.append(&mut agents);
                    self.report();
                }
            }
        }
        if !concerned.is_empty() {
            self.round.retain(|agent| !concerned.contains(agent));
            for agent in concerned {
                self.round.push_front(agent);
            }
        }
    }

    /// Says which coverage the budget does not reach, when that has changed.
    fn report(&mut self) {
        let plan = self.plan();
        let short = plan.shortfalls();
        let slow: Vec<_> = plan.slow_tors().collect();
        let lowest = short.iter().map(|short| short.coverage).fold(1.0, f64::min);
        let slowest = slow
            .iter()
            .map(|(_, rate)| *rate)
            .fold(self.policy.link_rate, f64::min);
        set(&self.metrics.coverage_short_tor_pairs, short.len());
        set(&self.metrics.link_rate_short_tors, slow.len());
        self.metrics.coverage_lowest_ratio.set(lowest);
        self.metrics.link_rate_lowest.set(slowest);
        let found = (short.len(), slow.len());
        if self.reported.replace(found) == Some(found) {
            return;
        }
        for short in short.iter().take(SHORTFALL_LINES) {
            tracing::warn!(
                source = %short.source, target = %short.target, limit = ?short.limit, paths = short.paths,
                tuples = short.tuples, wanted = short.wanted_tuples, coverage = short.coverage,
                "the paths between two ToRs are not covered as wanted"
            );
        }
        if !short.is_empty() {
            tracing::warn!(
                pairs = short.len(),
                lowest,
                wanted = self.policy.coverage,
                "ToR pairs without full coverage"
            );
        }
        if !slow.is_empty() {
            tracing::warn!(
                tors = slow.len(),
                slowest,
                wanted = self.policy.link_rate,
                "the budget per RNIC gives the uplinks of some ToRs fewer probes per second than wanted"
            );
        }
    }
}
