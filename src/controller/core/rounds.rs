//! Rounds of lists: who is told of a newer list, and when.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::plans::Made;
use super::{Core, ListAnswer, Served};
use crate::controller::directory::Change;
use crate::controller::metrics::set;
use crate::id::AgentId;
use crate::pinglist::{Changed, PinglistPlan};

/// Lists that may be in the making, of those who were told and those who ask by themselves, while more agents are told.
const LISTS_UNDER_WAY: usize = 128;
/// Where at most so many lists change, or a fiftieth of all, these agents are told before those who wait already: an RNIC that has
/// joined is probed soon, even during a rotation.
const URGENT: usize = 40;
const URGENT_PART: usize = 50;
/// Pairs without full coverage that are logged one by one.
const SHORTFALL_LINES: usize = 5;

impl Core {
    /// Makes a change known to those whom it concerns.
    pub(super) fn spread(&mut self, change: &Change, by: &AgentId) {
        let now = self.clock.host();
        if change.membership {
            self.plans.outdate(true, now);
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
        self.plans.outdate(false, now);
        concerned.remove(by);
        if self.plans.is_outdated() {
            self.due.append(&mut concerned);
        }
        for agent in concerned {
            self.tell(&agent);
        }
    }

    /// The plan that lists come from.
    pub(super) fn plan(&mut self) -> Arc<PinglistPlan> {
        match self.plans.newest() {
            Some((_, plan)) if !self.plans.is_wanted() => plan.clone(),
            _ => self.renew(),
        }
    }

    /// Makes a new plan; those whose lists it changes are told in a round.
    fn renew(&mut self) -> Arc<PinglistPlan> {
        let Made {
            plan: (_, plan),
            changed,
        } = self.plans.make(self.directory.topology(), &*self.clock);
        self.is_unreported = true;
        let due = std::mem::take(&mut self.due);
        match changed {
            None => self.queue(due),
            Some(Changed::All) => {
                let all: BTreeSet<_> = self.directory.agents().cloned().collect();
                self.queue(all);
            }
            Some(Changed::Agents(mut agents)) => {
                agents.extend(due);
                self.queue(agents);
            }
        }
        plan
    }

    fn queue(&mut self, agents: BTreeSet<AgentId>) {
        let is_urgent = agents.len() <= URGENT.max(self.listening.len() / URGENT_PART);
        for agent in agents {
            if self.listening.contains_key(&agent) {
                self.round.push(agent, is_urgent);
            }
        }
    }

    /// The number of the next notice: none comes twice, and no version of a list is like it.
    pub(super) fn next_notice(&mut self) -> u64 {
        self.last_notice += 1;
        self.last_notice
    }

    fn tell(&mut self, agent: &AgentId) {
        let notice = self.next_notice();
        if let Some(listening) = self.listening.get(agent) {
            listening.changes.send_replace(notice);
            self.metrics.changes_pushed.inc();
        }
    }

    pub(super) fn pinglist(&mut self, agent: &AgentId, known: u64) -> ListAnswer {
        if self.directory.announcement(agent).is_none() {
            return ListAnswer::UnknownAgent;
        }
        let plan = self.plan();
        let number = self.plans.newest().map_or(0, |(number, _)| *number);
        let served = self.served.get(agent);
        // Whoever does not name the list that the agent was given may be another asker: the agent is told all the same.
        if served.is_none_or(|served| served.version == known) {
            self.round.remove(agent);
        }
        let served = served.filter(|served| served.version == known);
        if served.is_some_and(|served| served.plan == number) {
            return ListAnswer::Unchanged(known);
        }
        let former = served.and_then(|served| self.plans.numbered(served.plan).cloned());
        match self.directory.announcement(agent) {
            Some(announcement) => ListAnswer::Made {
                announcement: announcement.clone(),
                plan: (number, plan),
                former,
            },
            None => ListAnswer::UnknownAgent,
        }
    }

    /// Notes which list an agent was given.
    pub(super) fn serve(&mut self, agent: AgentId, served: Served) {
        if self.directory.announcement(&agent).is_some() {
            self.served.insert(agent, served);
        }
    }

    pub(super) async fn tick(&mut self) {
        let now = self.clock.host();
        self.expire(now).await;
        self.share().await;
        self.store_again().await;
        self.step_keys().await;
        let period = self.plans.policy().period(self.clock.wall());
        if std::mem::replace(&mut self.period, period) != period {
            self.plans.outdate(true, now);
        }
        if self.plans.is_due(now) {
            self.renew();
        } else if std::mem::take(&mut self.is_unreported) {
            self.report();
        }
        let under_way = self
            .lists_under_way
            .load(std::sync::atomic::Ordering::Relaxed);
        for _ in under_way..LISTS_UNDER_WAY {
            let Some(agent) = self.round.pop() else { break };
            self.tell(&agent);
        }
        let census = self.directory.census();
        set(&self.metrics.live_agents, census.live);
        set(&self.metrics.stale_agents, census.stale);
        set(&self.metrics.rnics, census.rnics);
        set(&self.metrics.tors, census.tors);
    }

    /// Says which coverage the budget does not reach, when that has changed.
    fn report(&mut self) {
        let Some((_, plan)) = self.plans.newest().cloned() else {
            return;
        };
        let short = plan.shortfalls();
        let slow: Vec<_> = plan.slow_tors().collect();
        let lowest = short.iter().map(|short| short.coverage).fold(1.0, f64::min);
        let slowest = slow
            .iter()
            .map(|(_, rate)| *rate)
            .fold(self.plans.policy().link_rate, f64::min);
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
                wanted = self.plans.policy().coverage,
                "ToR pairs without full coverage"
            );
        }
        if !slow.is_empty() {
            tracing::warn!(
                tors = slow.len(),
                slowest,
                wanted = self.plans.policy().link_rate,
                "the budget per RNIC gives the uplinks of some ToRs fewer probes per second than wanted"
            );
        }
    }
}
