//! Anomalous RNICs of one run.
//!
//! An RNIC that loses nothing is not a suspect. Pairs of such RNICs enter as sums per ToR. The search begins when an RNIC has lost enough
//! to be a suspect.

use std::collections::HashMap;

use super::Judge;
use super::counts::{Counts, Horizon};
use super::effort::Effort;
use super::view::{Observed, View};
use crate::analysis::localize::ProblemError;
use crate::analysis::rnic::{self, LEAST_LOST, Rest, Verdict};

impl Judge {
    /// Anomalous RNICs over the shortest horizon that shows any, each once; `None` where there was no time for it.
    pub(super) fn rnics(
        &self,
        view: &View<'_>,
        effort: &mut Effort,
    ) -> Result<Option<Vec<Verdict>>, ProblemError> {
        let mut verdicts: Vec<Verdict> = Vec::new();
        for horizon in [Horizon::Now, Horizon::Short] {
            let losses = Losses::of(view, horizon);
            if !losses.suffice() {
                continue;
            }
            let (pairs, rest) = losses.pairs(view, horizon);
            let judged = rnic::judge(&pairs, &rest, effort.left())?;
            effort.spend(judged.work);
            let Some(found) = judged.verdicts else {
                return Ok(None);
            };
            let loses_enough =
                |verdict: &Verdict| verdict.finding().loss >= self.settings.least_rate;
            for verdict in found.into_iter().filter(loses_enough) {
                let known = verdicts
                    .iter()
                    .any(|known| known.rnics().any(|rnic| verdict.rnics().any(|r| r == rnic)));
                if !known {
                    verdicts.push(verdict);
                }
            }
        }
        Ok(Some(verdicts))
    }
}

/// The RNICs that have lost anything over a horizon.
struct Losses {
    /// By end: the number of the RNIC among those with losses.
    ends: Vec<Option<usize>>,
    /// What each has lost.
    lost: Vec<u64>,
}

impl Losses {
    fn of(view: &View<'_>, horizon: Horizon) -> Self {
        let board = view.board;
        let mut numbers = HashMap::new();
        let mut lost: Vec<u64> = Vec::new();
        for seen in view.with_losses_of_rnics(horizon) {
            let counts = seen.weighed(horizon);
            for end in board.place(seen.at).ends() {
                let next = numbers.len();
                let number = *numbers.entry(board.ends[end].rnic).or_insert(next);
                if number == next {
                    lost.push(0);
                }
                lost[number] = lost[number].saturating_add(counts.lost);
            }
        }
        let ends = board.ends.iter();
        Self {
            ends: ends
                .map(|known| numbers.get(&known.rnic).copied())
                .collect(),
            lost,
        }
    }

    /// Whether any RNIC has lost enough to come out as anomalous.
    fn suffice(&self) -> bool {
        self.lost.iter().any(|lost| *lost >= LEAST_LOST)
    }

    /// The pairs of these RNICs, and the sums of all others.
    fn pairs<'a>(&self, view: &View<'a>, horizon: Horizon) -> (Vec<rnic::Pair<'a>>, Rest<'a>) {
        let board = view.board;
        let mut pairs = Vec::new();
        // By end: probes under its ToR, and with other ToRs.
        let mut others = vec![[0_u64; 2]; board.ends.len()];
        for seen in view.with_results_of_rnics() {
            let counts = seen.weighed(horizon);
            let unsent = seen.unsent(horizon);
            if counts.sent == 0 && unsent == 0 {
                continue;
            }
            let ends = board.place(seen.at).ends();
            if ends.iter().any(|end| self.ends[*end].is_some()) {
                pairs.push(pair(seen, counts, unsent));
                continue;
            }
            let is_across = usize::from(!seen.is_under_one_tor());
            for end in ends {
                let sum = &mut others[end][is_across];
                *sum = sum.saturating_add(counts.sent);
            }
        }
        let mut rest = Rest::default();
        for (known, [inside, across]) in board.ends.iter().zip(&others) {
            rest.add(known.end.tor.as_str(), *inside, *across);
        }
        (pairs, rest)
    }
}

fn pair(seen: Observed<'_>, counts: Counts, unsent: u64) -> rnic::Pair<'_> {
    let seen = seen.seen;
    rnic::Pair {
        source: (&seen.source_name, seen.source.tor.as_str()),
        target: (&seen.target_name, seen.target.tor.as_str()),
        sent: counts.sent,
        lost: counts.lost,
        unsent,
    }
}
