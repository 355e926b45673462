//! ToRs from which nothing has ever come back: they are probed rarely.
//!
//! Between ToRs of different planes no path exists. Where no topology file says so, all probes between them are lost. A prober that
//! hears from other ToRs, but in [`AFTER`] not once from this one, uses one of [`EVERY`] turns of its 5-tuples. The first answer brings
//! all turns back, for good: what falls silent later is a fault, and is probed as before.
//!
//! Per RNIC: each RNIC of a host may be in another plane.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::id::TorId;
use crate::measure::{Invalid, Outcome};
use crate::time::HostTime;

use super::{Group, ProbeKind, ProbeResult};

/// How long nothing has come back from a ToR, while others answered.
pub(super) const AFTER: Duration = Duration::from_mins(10);
/// One of so many turns is used then.
pub(super) const EVERY: u32 = 16;

/// What is known of a ToR.
#[derive(Debug, Clone, Copy)]
enum Standing {
    Answered,
    Silent {
        since: HostTime,
        /// Turns since then that came after [`AFTER`].
        turns: u32,
    },
}

/// The ToRs that were probed, and whether they have ever answered.
#[derive(Debug, Default)]
pub(super) struct Unanswered {
    tors: HashMap<TorId, Standing>,
    /// Whether any ToR has answered: else the prober's own RNIC may be the cause.
    has_answer: bool,
}

impl Unanswered {
    /// Forgets the ToRs that are not probed any more.
    pub(super) fn retain(&mut self, groups: &[Group]) {
        let kept: HashSet<&TorId> = groups
            .iter()
            .flat_map(|group| &group.paths)
            .map(|path| &path.target.tor)
            .collect();
        self.tors.retain(|tor, _| kept.contains(tor));
    }

    /// Takes the outcome of a probe.
    pub(super) fn note(&mut self, result: &ProbeResult, now: HostTime) {
        if !is_between_tors(result.kind) {
            return;
        }
        let tor = &result.path.target.tor;
        match result.outcome {
            // An ACK came, whatever its times are worth.
            Outcome::Complete(_)
            | Outcome::Invalid(
                Invalid::NegativeNetworkRtt
                | Invalid::NegativeProberDelay
                | Invalid::NegativeResponderDelay
                | Invalid::SecondAckMissing,
            ) => self.answered(tor, now),
            Outcome::Lost => {
                if !self.tors.contains_key(tor) {
                    self.tors.insert(tor.clone(), silent(now));
                }
            }
            Outcome::Invalid(
                Invalid::SendFailed | Invalid::EndpointReset | Invalid::SendCompletionMissing,
            ) => {}
        }
    }

    fn answered(&mut self, tor: &TorId, now: HostTime) {
        match self.tors.get_mut(tor) {
            Some(standing) => *standing = Standing::Answered,
            None => {
                self.tors.insert(tor.clone(), Standing::Answered);
            }
        }
        if !self.has_answer {
            self.has_answer = true;
            // What was lost before may have been lost at the own RNIC.
            for standing in self.tors.values_mut() {
                if matches!(standing, Standing::Silent { .. }) {
                    *standing = silent(now);
                }
            }
        }
    }

    /// Whether this turn is left out.
    pub(super) fn leaves_out(&mut self, kind: ProbeKind, tor: &TorId, now: HostTime) -> bool {
        if !self.has_answer || !is_between_tors(kind) {
            return false;
        }
        let Some(Standing::Silent { since, turns }) = self.tors.get_mut(tor) else {
            return false;
        };
        if now < since.after(AFTER) {
            return false;
        }
        // Each round uses the turn after the one that the last round used: else one 5-tuple might have them all.
        let left_out = *turns % EVERY != *turns / EVERY % EVERY;
        *turns = turns.wrapping_add(1);
        left_out
    }
}

fn silent(since: HostTime) -> Standing {
    Standing::Silent { since, turns: 0 }
}

fn is_between_tors(kind: ProbeKind) -> bool {
    matches!(kind, ProbeKind::InterTor | ProbeKind::Focus)
}
