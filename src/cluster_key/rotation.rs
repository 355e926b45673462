//! The controller's part: which key is in which phase, and when the next phase begins.
//!
//! [`Rotation::due`] says what should be in force now. The caller stores it, then calls [`Rotation::enter`]: agents are told
//! nothing that a restart would forget.
//!
//! Waited for are all agents that are registered, also those that are away: they go on probing by what they have. One that is
//! forgotten is not waited for any more; it gets its keys when it registers again. An agent of an older version, which knows
//! nothing of keys, holds back the first key, and is not registered any more once the others sign.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Generation, Held, Master, Order, Phase, Report};
use crate::id::AgentId;
use crate::time::{HostTime, Nanos, WallTime};
use crate::wire::Fingerprint;

/// How many numbers a controller may have been put back, at most.
const MOST_BACK: u64 = 10_000;
/// Agents that are named of those that are waited for.
pub(crate) const MOST_NAMED: usize = 5;

/// What the store keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// What the keys are made from.
    pub master: Master,
    /// Which of them is in force.
    pub generation: Generation,
    /// How far it is spread.
    pub phase: Phase,
    /// When the phase began.
    pub begun: WallTime,
    /// Agents come from another store, or from a later state of this one: see [`Order::keeps`].
    pub is_mixed: bool,
}

impl Stored {
    /// The first key of a new secret, offered from `now` on.
    pub(crate) fn first(master: Master, now: WallTime) -> Self {
        Self {
            master,
            generation: Generation::FIRST,
            phase: Phase::Offered,
            begun: now,
            is_mixed: true,
        }
    }
}

/// How long phases last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spans {
    /// A phase lasts at least so long, also after a start of the controller: agents that were connected come back in this time.
    pub settle: Duration,
    /// For so long at least the old key is accepted after the new one signs.
    pub overlap: Duration,
    /// The age of a key at which the next one is offered.
    pub interval: Duration,
}

/// What is known of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Member {
    /// It was registered before the controller started, and has not come back.
    Unheard,
    /// It knows nothing of keys.
    Unable,
    Own,
    Held(Held),
}

/// How agents stand to the present phase.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// They have done what the phase asks for.
    pub(crate) ready: usize,
    /// They have not yet, or have not come back since the controller started.
    pub(crate) awaited: usize,
    /// They know nothing of keys.
    pub(crate) unable: usize,
    /// They have keys of their own configuration.
    pub(crate) own: usize,
    /// Some of those that are waited for.
    pub(crate) names: Vec<AgentId>,
}

/// The state machine. See the module.
#[derive(Debug)]
pub(crate) struct Rotation {
    spans: Spans,
    /// `None` until the store has been read.
    state: Option<Stored>,
    started: HostTime,
    /// When the phase began for this process.
    since: HostTime,
    members: BTreeMap<AgentId, Member>,
    is_wanted: bool,
}

impl Rotation {
    /// Of a controller that starts with these registered agents.
    pub(crate) fn new(
        spans: Spans,
        registered: impl Iterator<Item = AgentId>,
        now: HostTime,
    ) -> Self {
        Self {
            spans,
            state: None,
            started: now,
            since: now,
            members: registered.map(|agent| (agent, Member::Unheard)).collect(),
            is_wanted: false,
        }
    }

    /// What is in force from now on, and is stored.
    pub(crate) fn enter(&mut self, state: Stored, now: HostTime) {
        if state.phase == Phase::Offered {
            self.is_wanted = false;
        }
        self.state = Some(state);
        self.since = now;
    }

    /// What is in force; `None` before anything is.
    pub(crate) fn state(&self) -> Option<&Stored> {
        self.state.as_ref()
    }

    /// What agents are told.
    pub(crate) fn order(&self) -> Option<Order> {
        let state = self.state.as_ref()?;
        Some(Order {
            lineage: state.master.lineage(),
            generation: state.generation,
            phase: state.phase,
            key: state.master.secret(state.generation),
            previous: state
                .generation
                .before()
                .map(|before| state.master.secret(before)),
            keeps: state.is_mixed,
        })
    }

    /// The next key is to be offered as soon as the present one is the only one.
    pub(crate) fn want(&mut self) {
        self.is_wanted = true;
    }

    /// Whether an agent that knows nothing of keys can be probed: no registered agent refuses what is not signed.
    pub(crate) fn admits_unable(&self) -> bool {
        let takes_unsigned = |member: &Member| match member {
            Member::Held(held) => held.takes_unsigned,
            Member::Unheard | Member::Unable | Member::Own => true,
        };
        self.state.as_ref().is_none_or(|state| {
            (state.generation, state.phase) == (Generation::FIRST, Phase::Offered)
                && self.members.values().all(takes_unsigned)
        })
    }

    /// An agent has registered; without a report it knows nothing of keys.
    pub(crate) fn join(&mut self, agent: AgentId, report: Option<Report>) {
        let member = match report {
            None => Member::Unable,
            Some(Report::Own) => Member::Own,
            Some(Report::Held(held)) => Member::Held(held),
        };
        self.members.insert(agent, member);
    }

    /// A registered agent has followed an order.
    pub(crate) fn confirm(&mut self, agent: &AgentId, held: Held) {
        if let Some(member) = self.members.get_mut(agent) {
            *member = Member::Held(held);
        }
    }

    /// An agent is not registered any more.
    pub(crate) fn forget(&mut self, agent: &AgentId) {
        self.members.remove(agent);
    }

    /// What has to be in force because of what an agent has: `None` where nothing follows.
    ///
    /// Keys that only a later state of this controller can have handed out show that its store is an older copy: it goes on where it
    /// was. Keys of another secret, soon after the start, show that the agents come from another store: then the next key is
    /// offered, since they verify none of this one's.
    pub(crate) fn overtaken_by(
        &self,
        held: &Held,
        now: HostTime,
        wall: WallTime,
    ) -> Option<Stored> {
        let (state, followed) = (self.state.as_ref()?, held.followed?);
        if followed.lineage != state.master.lineage() {
            let is_new_here = now.since(self.started) < self.spans.settle;
            let is_expected = state.phase == Phase::Offered && state.is_mixed;
            let next = offered_after(state, wall).filter(|_| is_new_here && !is_expected);
            return next.map(|next| Stored {
                is_mixed: true,
                ..next
            });
        }
        let back = followed.generation.0.checked_sub(state.generation.0)?;
        if back == 0 || back > MOST_BACK {
            return None;
        }
        let key = state.master.secret(followed.generation).fingerprint();
        held.verifies.contains(&key).then(|| Stored {
            generation: followed.generation,
            phase: followed.phase,
            begun: wall,
            is_mixed: true,
            ..state.clone()
        })
    }

    /// What should be in force instead of the present state.
    pub(crate) fn due(&self, now: HostTime, wall: WallTime) -> Option<Stored> {
        let state = self.state.as_ref()?;
        let lasted = now.since(self.since);
        let in_phase = |phase| Stored {
            phase,
            begun: wall,
            is_mixed: state.is_mixed && phase == Phase::Signing,
            ..state.clone()
        };
        match state.phase {
            Phase::Offered if lasted >= self.spans.settle && self.is_ready() => {
                Some(in_phase(Phase::Signing))
            }
            Phase::Signing if lasted >= self.overlap(state) && self.is_ready() => {
                Some(in_phase(Phase::Steady))
            }
            Phase::Steady
                if lasted >= self.spans.settle
                    && (self.is_wanted || self.is_old(state, wall))
                    && self.is_ready() =>
            {
                offered_after(state, wall)
            }
            Phase::Offered | Phase::Signing | Phase::Steady => None,
        }
    }

    /// How long a key signs before the one before is refused. Before the first key packets are not signed: that ends soon.
    fn overlap(&self, state: &Stored) -> Duration {
        if state.generation == Generation::FIRST {
            self.spans.settle
        } else {
            self.spans.overlap.max(self.spans.settle)
        }
    }

    /// Whether a key is older than it may become. The wall clock may have been wrong: a time that is to come is none.
    fn is_old(&self, state: &Stored, wall: WallTime) -> bool {
        let age = wall - state.begun;
        age > Nanos::ZERO && wall.since(state.begun) >= self.spans.interval
    }

    /// Whether everybody has done what the phase asks for. Nobody is not everybody: agents of a controller that has lost its
    /// registry are still to come.
    fn is_ready(&self) -> bool {
        let standing = self.standing();
        standing.ready > 0 && standing.awaited == 0 && standing.unable == 0
    }

    /// How the agents stand to the present phase.
    pub(crate) fn standing(&self) -> Standing {
        let mut standing = Standing::default();
        let key = self.state.as_ref().map(|state| {
            (
                state.master.secret(state.generation).fingerprint(),
                state.phase,
            )
        });
        for (agent, member) in &self.members {
            let is_ready = match member {
                Member::Own => {
                    standing.own += 1;
                    continue;
                }
                Member::Unable => {
                    standing.unable += 1;
                    false
                }
                Member::Unheard => {
                    standing.awaited += 1;
                    false
                }
                Member::Held(held) => {
                    let done = key.is_some_and(|(key, phase)| has_done(held, key, phase));
                    standing.ready += usize::from(done);
                    standing.awaited += usize::from(!done);
                    done
                }
            };
            if !is_ready && standing.names.len() < MOST_NAMED {
                standing.names.push(agent.clone());
            }
        }
        standing
    }
}

/// The state in which the next key is offered. `None` after the last number.
fn offered_after(state: &Stored, wall: WallTime) -> Option<Stored> {
    Some(Stored {
        generation: Generation(state.generation.0.checked_add(1)?),
        phase: Phase::Offered,
        begun: wall,
        is_mixed: false,
        ..state.clone()
    })
}

/// Whether an agent has done what a phase asks for.
fn has_done(held: &Held, key: Fingerprint, phase: Phase) -> bool {
    let verifies = held.verifies.contains(&key);
    match phase {
        Phase::Offered => verifies,
        Phase::Signing | Phase::Steady => verifies && held.signs == Some(key),
    }
}
