//! The newest plans of the fabric, and when the next one is due.
//!
//! A plan is a look at each RNIC. A cheap one is made anew whenever a list is asked for after a change. A costly one is made when
//! nothing has changed for [`SETTLED`], and after [`LONGEST_WAIT`] in any case; between two plans [`PLAN_PAUSE`] times the cost passes.
//! So agents that register at once do not cost a plan each. Until then the plan at hand gives the lists.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::pinglist::{Changed, PinglistPlan, Policy};
use crate::time::{Clock, HostTime};
use crate::topology::Topology;

/// Cost of a plan up to which each change makes a new one.
const CHEAP_PLAN: Duration = Duration::from_millis(2);
/// Between two costlier plans so many times the cost of one passes: the core has three quarters of its time for answers.
const PLAN_PAUSE: u32 = 3;
/// A costlier plan waits until nothing has changed for so long,
const SETTLED: Duration = Duration::from_millis(100);
/// but no longer than this.
const LONGEST_WAIT: Duration = Duration::from_secs(3);
/// Plans that are kept to say what has changed in a list since. They share the RNICs, and what the RNICs of a ToR probe where that is
/// the same.
const KEPT: usize = 4;

/// A plan and its number; numbers rise.
pub(super) type Numbered = (u64, Arc<PinglistPlan>);

/// What has changed since the newest plan.
#[derive(Debug, Clone, Copy)]
struct Outdated {
    first: HostTime,
    last: HostTime,
    /// RNICs came, went or moved, or a rotation has begun; not only addresses.
    membership: bool,
}

/// A plan that has just been made.
pub(super) struct Made {
    pub(super) plan: Numbered,
    /// Whose lists differ from those of the plan before; `None` where only addresses have changed, whose probers are known.
    pub(super) changed: Option<Changed>,
}

#[derive(Debug)]
pub(super) struct Plans {
    policy: Arc<Policy>,
    /// The newest first.
    kept: VecDeque<Numbered>,
    /// How long the newest took, and when it was made.
    cost: Duration,
    made: HostTime,
    outdated: Option<Outdated>,
}

impl Plans {
    pub(super) fn new(policy: Arc<Policy>) -> Self {
        Self {
            policy,
            kept: VecDeque::new(),
            cost: Duration::ZERO,
            made: HostTime::from_nanos(0),
            outdated: None,
        }
    }

    pub(super) fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// The topology has changed.
    pub(super) fn outdate(&mut self, membership: bool, now: HostTime) {
        let outdated = self.outdated.get_or_insert(Outdated {
            first: now,
            last: now,
            membership,
        });
        outdated.last = now;
        outdated.membership |= membership;
    }

    /// Whether lists come from a plan that is older than the topology: the next one is costly and not due yet.
    pub(super) fn is_outdated(&self) -> bool {
        self.outdated.is_some() && self.cost > CHEAP_PLAN
    }

    pub(super) fn newest(&self) -> Option<&Numbered> {
        self.kept.front()
    }

    /// A former plan, if it is still kept.
    pub(super) fn numbered(&self, number: u64) -> Option<&Arc<PinglistPlan>> {
        let mut kept = self.kept.iter();
        kept.find(|(own, _)| *own == number).map(|(_, plan)| plan)
    }

    /// Whether a list that is asked for now needs a new plan.
    pub(super) fn is_wanted(&self) -> bool {
        self.kept.is_empty() || (self.outdated.is_some() && self.cost <= CHEAP_PLAN)
    }

    /// Whether it is time for the next plan, whether or not somebody asks for a list.
    pub(super) fn is_due(&self, now: HostTime) -> bool {
        let Some(outdated) = self.outdated else {
            return self.kept.is_empty();
        };
        let is_settled = now.since(outdated.last) >= SETTLED;
        let has_waited = now.since(outdated.first) >= LONGEST_WAIT;
        self.is_wanted()
            || ((is_settled || has_waited) && now.since(self.made) >= self.cost * PLAN_PAUSE)
    }

    /// Makes the next plan.
    pub(super) fn make(&mut self, topology: &Topology, clock: &dyn Clock) -> Made {
        let start = clock.host();
        let older = self.kept.front().map(|(_, plan)| &**plan);
        let plan = PinglistPlan::succeeding(older, topology, &self.policy, clock.wall());
        let plan = Arc::new(plan);
        let membership = self.outdated.is_none_or(|outdated| outdated.membership);
        let changed =
            membership.then(|| older.map_or(Changed::All, |older| plan.changed_since(older)));
        let number = self.kept.front().map_or(1, |(number, _)| number + 1);
        self.made = clock.host();
        self.cost = self.made.since(start);
        self.outdated = None;
        self.kept.push_front((number, plan.clone()));
        self.kept.truncate(KEPT);
        Made {
            plan: (number, plan),
            changed,
        }
    }
}
