//! Whose second ACKs say something about the network.
//!
//! A responder sends its second ACK when the first has left its RNIC. What the network loses on the way back it loses of first and of second
//! ACKs alike. A responder of which many second ACKs are missing, and few first ones, has not sent them: its RNIC shows no send
//! completions, or its queue is full.
//!
//! A link with a steady loss rate loses probes, first ACKs and second ACKs. About a third of these losses are second ACKs. A link that goes down
//! loses no second ACK: before it went down all of them came, and afterwards no first ACK comes. The second ACKs from before would then speak
//! against this link, and for components that fewer ACKs cross. So second ACKs are not evidence over a horizon in which many probes are lost and
//! nearly no second ACK is missing.

use super::board::{Board, Place};
use super::counts::{Counts, Horizon};
use super::snapshot::Snapshot;

/// Second ACKs may be missing so many times as often as first ones,
const MORE: u64 = 3;
/// and so many more, by chance.
const BY_CHANCE: u64 = 5;

/// Second ACKs are evidence where at most this many probes are lost for each second ACK that is missing,
const FEWER: u64 = 8;
/// and this many more.
const FEW: u64 = 10;

/// What is missing over a horizon.
#[derive(Debug, Default)]
pub(super) struct AcksLost {
    /// Lost probes.
    pub(super) probes: u64,
    /// Second ACKs that are missing.
    acks: u64,
    /// Numbers of paths of which second ACKs alone are missing.
    pub(super) alone: Vec<u32>,
}

impl AcksLost {
    /// Adds a path that has lost probes, and whose second ACKs are missing.
    pub(super) fn add(&mut self, path: u32, probes: u64, acks: u64) {
        self.acks = self.acks.saturating_add(acks);
        if probes == 0 && acks > 0 {
            self.alone.push(path);
        }
    }

    /// Whether second ACKs are evidence: what is lost is lost at some rate. See the module.
    pub(super) const fn say_something(&self) -> bool {
        self.probes <= FEW.saturating_add(FEWER.saturating_mul(self.acks))
    }
}

/// The RNICs whose second ACKs are evidence.
#[derive(Debug, Default)]
pub(super) struct TrustedAcks {
    /// By end; empty where no second ACK is missing anywhere.
    distrusted: Vec<bool>,
}

impl TrustedAcks {
    /// By what the paths to each RNIC counted over two minutes.
    pub(super) fn of(board: &Board, snapshot: &Snapshot) -> Self {
        let seen = || snapshot.seen.iter().flatten();
        if seen().all(|seen| seen.half_answered.is_none()) {
            return Self::default();
        }
        let mut all = Counts::default();
        let mut ends = vec![Counts::default(); board.ends.len()];
        for (place, seen) in board.places().iter().zip(&snapshot.seen) {
            let (Some(end), Some(seen)) = (ends.get_mut(place.target as usize), seen) else {
                continue;
            };
            let counts = Counts {
                sent: seen.counts(Horizon::Long).lost,
                lost: seen
                    .half_answered
                    .as_ref()
                    .map_or(0, |half| u64::from(half[Horizon::Long.index()])),
            };
            end.add(counts);
            all.add(counts);
        }
        let of_all = is_beyond_chance(all);
        Self {
            distrusted: ends
                .into_iter()
                .map(|end| of_all || is_beyond_chance(end))
                .collect(),
        }
    }

    /// Whether those of a path's responder are.
    pub(super) fn holds(&self, place: Place) -> bool {
        !self
            .distrusted
            .get(place.target as usize)
            .copied()
            .unwrap_or(false)
    }
}

/// Whether so many second ACKs are missing as no network loses beside these probes: `sent` lost probes, `lost` second ACKs.
const fn is_beyond_chance(Counts { sent, lost }: Counts) -> bool {
    lost > MORE.saturating_mul(sent).saturating_add(BY_CHANCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_down_silences_second_acks_and_what_loses_some_does_not() {
        let lost = |probes, acks| {
            let mut lost = AcksLost {
                probes,
                ..AcksLost::default()
            };
            lost.add(7, 0, acks);
            lost.say_something()
        };
        // A link that loses 0.2 to 50 %, in either direction, and few losses of anything.
        assert!(lost(3, 0) && lost(10, 0) && lost(30, 14) && lost(500, 120));
        // A link, switch or host that is down.
        assert!(!lost(11, 0) && !lost(86, 3) && !lost(10_000, 20));
    }

    #[test]
    fn a_responder_that_sends_no_second_acks_is_distrusted() {
        let is_beyond = |sent, lost| is_beyond_chance(Counts { sent, lost });
        assert!(!is_beyond(0, 5) && !is_beyond(10, 12) && !is_beyond(400, 380));
        assert!(is_beyond(0, 6) && is_beyond(2, 40));
    }
}
