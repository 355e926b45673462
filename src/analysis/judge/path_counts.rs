//! What one path counted, and as how many probes it counts.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::counts::{Counts, Horizon};
use crate::analysis::report::End;
use crate::analysis::windows::PathView;
use crate::id::{RnicName, ServiceName, UdpSourcePort};
use crate::probe::{PathFidelity, ProbeKind};

/// A path with what it counted.
#[derive(Debug, Clone)]
pub struct PathCounts {
    /// Who probes.
    pub source: Arc<End>,
    /// Who answers.
    pub target: Arc<End>,
    /// The RNIC that probes.
    pub source_name: Arc<RnicName>,
    /// The RNIC that answers.
    pub target_name: Arc<RnicName>,
    /// Why it is probed.
    pub kind: ProbeKind,
    /// UDP source port, where it is known.
    pub port: Option<UdpSourcePort>,
    /// The service that uses it.
    pub service: Option<Arc<ServiceName>>,
    /// Whether it is surely the path of the service's own connections.
    pub is_own: bool,
    pub(super) counts: [Few; 4],
    /// The same as much as it may weigh ([`weighed`]), where that is less.
    pub(super) weighed: Option<Box<[Counts; 4]>>,
    pub(super) unsent: [u32; 2],
    /// Probes whose first ACK came, and no second, over each horizon; nearly no path has one.
    pub(super) half_answered: Option<Box<[u32; 4]>>,
    pub(super) slow: Few,
    pub(super) paused: u32,
    /// The bin of the longest round trip of 20 s that can be trusted.
    pub(super) longest: u16,
    /// The filter has nothing to say about its ends.
    pub(super) is_quiet: bool,
    /// The numbers of its ends in [`Following`](super::following::Following).
    pub(super) ends: [u32; 2],
}

/// Counts of one path in 32 bits each: a fleet has millions of paths. What does not fit stays at the largest number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Few {
    pub(super) sent: u32,
    pub(super) lost: u32,
}

impl Few {
    const fn counts(self) -> Counts {
        Counts {
            sent: self.sent as u64,
            lost: self.lost as u64,
        }
    }
}

impl From<Counts> for Few {
    fn from(Counts { sent, lost }: Counts) -> Self {
        Self {
            sent: few(sent),
            lost: few(lost),
        }
    }
}

pub(super) fn few(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

impl PathCounts {
    /// Probes over a horizon.
    pub const fn counts(&self, horizon: Horizon) -> Counts {
        self.counts[horizon.index()].counts()
    }

    /// Round trips of 20 s that can be trusted, and the slow ones.
    pub const fn slow(&self) -> Counts {
        self.slow.counts()
    }

    /// Those of the slow ones that took longer than any queue: something stood still.
    pub fn paused(&self) -> u64 {
        u64::from(self.paused)
    }

    /// Probes over a horizon as evidence of where losses come from: those of a path that is probed much more than others count
    /// as fewer, with the same share lost.
    pub(crate) fn weighed(&self, horizon: Horizon) -> Counts {
        match &self.weighed {
            Some(weighed) => weighed[horizon.index()],
            None => self.counts(horizon),
        }
    }

    /// Second ACKs that were to come back, and those that did not, over a horizon, weighed as the probes. A second ACK follows where
    /// the first one has arrived.
    pub(super) fn second_acks(&self, horizon: Horizon) -> Counts {
        let probes = self.weighed(horizon);
        let sent = probes.sent.saturating_sub(probes.lost);
        let lost = self.half_answered.as_ref().map_or(0, |half| {
            let half = u64::from(half[horizon.index()]);
            let all = self.counts(horizon).sent.max(1);
            // At least one of a path that is weighed: nothing that was lost is forgotten.
            (half.saturating_mul(probes.sent)).div_ceil(all).min(sent)
        });
        Counts { sent, lost }
    }

    /// Probes that could not be sent, over one of the two shortest horizons; none over the others.
    pub(crate) fn unsent(&self, horizon: Horizon) -> u64 {
        let unsent = self.unsent.get(horizon.index()).copied();
        u64::from(unsent.unwrap_or(0))
    }

    /// Whether it is this path of the windows.
    pub(super) fn is_of(&self, path: PathView<'_>) -> bool {
        self.kind == path.kind()
            && self.port == path.source_port()
            && std::ptr::eq(&raw const *self.source, path.source())
            && std::ptr::eq(&raw const *self.target, path.target())
            && self.service.as_deref() == path.service()
            && self.is_own == is_own(path)
    }

    /// Whether both ends are under one ToR.
    pub(crate) fn is_under_one_tor(&self) -> bool {
        self.source.tor == self.target.tor
    }

    /// Whether one of its ends is among these RNICs.
    pub fn touches(&self, rnics: &BTreeSet<RnicName>) -> bool {
        !rnics.is_empty()
            && (rnics.contains(&*self.source_name) || rnics.contains(&*self.target_name))
    }
}

/// Links that a probe and its ACK cross; between ToRs the fabric's tiers are not known here, and all count alike.
pub(super) const fn class(kind: ProbeKind) -> u32 {
    match kind {
        ProbeKind::TorMesh => 4,
        ProbeKind::InterTor | ProbeKind::Focus | ProbeKind::ServiceTracing => 8,
    }
}

/// Whether a path is surely that of the service's own connections. Agents that do not tell are older than the difference.
pub(super) fn is_own(path: PathView<'_>) -> bool {
    path.fidelity()
        .is_none_or(|fidelity| fidelity == PathFidelity::OwnPath)
}

#[cfg(test)]
impl PathCounts {
    /// All that is counted, and of which path.
    pub(super) fn all(&self) -> impl PartialEq + std::fmt::Debug + use<> {
        (
            (
                (*self.source_name).clone(),
                (*self.target_name).clone(),
                self.kind,
            ),
            (self.port, self.service.as_deref().cloned(), self.is_own),
            (self.counts, self.weighed.clone(), self.unsent),
            self.half_answered.clone(),
            (self.slow, self.paused),
        )
    }

    /// The same path with other counts over all horizons.
    pub(super) fn with_counts(mut self, counts: Counts) -> Self {
        self.counts = [counts.into(); 4];
        self.weighed = None;
        self
    }
}

/// A path weighs no more than so many times the median path,
const MOST_WEIGHT: u64 = 4;
/// or than so many probes.
const LEAST_WEIGHT: u64 = 64;
/// A path between ToRs may weigh so many times as much as others: focus probes some at four times their rate, and leaves others a
/// quarter of theirs. Their probes count in full, or the losses that it looks for would not.
pub(super) const FOCUSED_WEIGHT: u64 = 4;

/// The most probes that one path counts as, where the paths have sent so many. All probes of a path take one way through the
/// fabric: the thousandth says hardly more than the hundredth about what other 5-tuples meet there.
pub(super) fn most_weight(sent: impl Iterator<Item = u64>) -> u64 {
    let mut sent: Vec<u64> = sent.filter(|sent| *sent > 0).collect();
    if sent.is_empty() {
        return LEAST_WEIGHT;
    }
    let middle = sent.len() / 2;
    let (_, median, _) = sent.select_nth_unstable(middle);
    median.saturating_mul(MOST_WEIGHT).max(LEAST_WEIGHT)
}

/// How many paths have sent how many probes: gives the same as [`most_weight`] in one pass.
#[derive(Debug, Default)]
pub(super) struct SentCounts {
    /// By number of probes, up to [`FEW_SENT`].
    few: Vec<u64>,
    many: Vec<u64>,
    paths: u64,
    most: u64,
}

/// Paths with fewer probes are counted, others listed.
const FEW_SENT: u64 = 4096;

impl SentCounts {
    pub(super) fn add(&mut self, sent: u64) {
        if sent == 0 {
            return;
        }
        self.paths += 1;
        self.most = self.most.max(sent);
        if sent >= FEW_SENT {
            self.many.push(sent);
            return;
        }
        let at = usize::try_from(sent).unwrap_or_default();
        if self.few.len() <= at {
            self.few.resize(at + 1, 0);
        }
        self.few[at] += 1;
    }

    /// The most that one path has sent.
    pub(super) const fn most(&self) -> u64 {
        self.most
    }

    /// The most probes that one path counts as: see [`most_weight`].
    pub(super) fn most_weight(&mut self) -> u64 {
        if self.paths == 0 {
            return LEAST_WEIGHT;
        }
        let mut before = 0;
        let middle = self.paths / 2;
        let median = (0..).zip(&self.few).find_map(|(sent, paths)| {
            before += paths;
            (before > middle).then_some(sent)
        });
        let median = median.unwrap_or_else(|| {
            self.many.sort_unstable();
            let at = usize::try_from(middle - before).unwrap_or(usize::MAX);
            self.many.get(at).copied().unwrap_or(0)
        });
        median.saturating_mul(MOST_WEIGHT).max(LEAST_WEIGHT)
    }
}

/// Counts of a path, scaled down to `most` probes.
pub(super) fn weighed(counts: Counts, most: u64) -> Counts {
    if counts.sent <= most {
        return counts;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and `most`"
    )]
    let lost = (counts.share() * most as f64).round() as u64;
    Counts {
        sent: most,
        lost: lost.min(most),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn counted_paths_weigh_as_listed_ones(
            sent in prop::collection::vec(prop_oneof![0_u64..300, 0_u64..10_000], 0..40),
        ) {
            let mut counts = SentCounts::default();
            for sent in &sent {
                counts.add(*sent);
            }
            prop_assert_eq!(counts.most_weight(), most_weight(sent.iter().copied()));
            prop_assert_eq!(counts.most(), sent.iter().copied().max().unwrap_or(0));
        }
    }
}
