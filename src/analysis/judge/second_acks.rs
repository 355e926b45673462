//! Whose second ACKs say something about the network.
//!
//! A responder sends its second ACK when the first has left its RNIC. What the network loses on the way back it loses of first and of second
//! ACKs alike. A responder of which many second ACKs are missing, and few first ones, has not sent them: its RNIC shows no send
//! completions, or its queue is full.

use super::board::{Board, Place};
use super::counts::{Counts, Horizon};
use super::snapshot::Snapshot;

/// Second ACKs may be missing so many times as often as first ones,
const MORE: u64 = 3;
/// and so many more, by chance.
const BY_CHANCE: u64 = 5;

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
