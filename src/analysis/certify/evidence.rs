//! What was counted: per directed link, per set of links with losses, and per RNIC.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use crate::id::{Gid, RnicName};
use crate::time::{Nanos, WallTime};

/// Sets of links with losses that are kept.
const MOST_LOSSY: usize = 2_000;
/// Switches that are kept as first ones of an RNIC.
pub(super) const MOST_FIRST: usize = 4;

/// Probes, and those without an ACK.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// All.
    pub sent: u64,
    /// Lost.
    pub lost: u64,
}

impl Tally {
    /// Adds another; saturates.
    pub const fn add(&mut self, other: Self) {
        self.sent = self.sent.saturating_add(other.sent);
        self.lost = self.lost.saturating_add(other.lost);
    }
}

/// One direction of a cable; an end that is an RNIC is written as [`RnicName`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkName {
    /// The end that sends.
    pub from: String,
    /// The end that receives.
    pub to: String,
}

impl LinkName {
    /// From one node to another.
    pub fn new(from: impl Into<String>, to: impl Into<String>) -> Self {
        Self {
            from: from.into(),
            to: to.into(),
        }
    }

    /// The other direction.
    #[must_use]
    pub fn reverse(&self) -> Self {
        Self::new(&*self.to, &*self.from)
    }
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}->{}", self.from, self.to)
    }
}

/// What is known of one direction of a cable, or of all parallel ones together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkEvidence {
    /// Cables that the topology file lists; 0 where it has none.
    pub cables: u32,
    /// 5-tuples whose packets cross it, as traces have shown.
    pub paths: u64,
    /// Probes that crossed it, or whose ACK did.
    pub tally: Tally,
}

/// A duration as RNICs are compared by it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Level {
    /// Measurements.
    pub count: u64,
    /// Their median; of several intervals the mean of the medians, weighted by the counts.
    pub median: Nanos,
}

impl Level {
    /// Adds the measurements of another interval.
    pub fn add(&mut self, other: Self) {
        let count = self.count.saturating_add(other.count);
        if other.count > 0 && count > 0 {
            let sum = i128::from(self.median.0) * i128::from(self.count)
                + i128::from(other.median.0) * i128::from(other.count);
            self.median = Nanos(i64::try_from(sum / i128::from(count)).unwrap_or(i64::MAX));
        }
        self.count = count;
    }
}

/// What is known of an RNIC.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RnicEvidence {
    /// Its GID.
    pub gid: Option<Gid>,
    /// The ToR that its agent reports.
    pub tor: String,
    /// The ToRs that the topology file has for it: several for a bond, none where the file does not know it.
    pub file_tors: Vec<String>,
    /// The switches that answer first on its traced paths, with the number of 5-tuples.
    pub first_switches: BTreeMap<String, u64>,
    /// Probes from it and to it.
    pub tally: Tally,
    /// Network RTT to and from the others under its ToR.
    pub rtt: Level,
    /// Prober delay of its own probes.
    pub prober_delay: Level,
    /// Responder delay of probes to it.
    pub responder_delay: Level,
}

/// What was counted over some slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// From when to when; what was counted in it may be less, see `covered`.
    pub interval: Range<WallTime>,
    /// Time with results that were counted.
    pub covered: Nanos,
    /// Whether there is a topology file.
    pub has_file: bool,
    /// Probes that count.
    pub counted: Tally,
    /// Probes whose path, or that of their ACKs, is not known.
    pub untraced: Tally,
    /// Probes that say nothing about the network, because a host may have disturbed them.
    pub set_aside: Tally,
    /// Probes that crossed what was to be left out.
    pub left_out: Tally,
    /// The links, those without a probe too where the file knows them.
    pub links: BTreeMap<LinkName, LinkEvidence>,
    /// Probes by the links that they crossed, of the sets of links with losses: those with most losses are kept.
    pub lossy: BTreeMap<Vec<LinkName>, Tally>,
    /// Losses of sets of links that found no place.
    pub lossy_left_out: u64,
    /// The RNICs that report.
    pub rnics: BTreeMap<RnicName, RnicEvidence>,
    /// Hosts and RNICs of the file that report nothing.
    pub missing: Vec<String>,
    /// Where file, reports and traces contradict each other, in words.
    pub differences: Vec<String>,
}

impl Evidence {
    /// Nothing yet.
    pub const fn new(interval: Range<WallTime>) -> Self {
        Self {
            interval,
            covered: Nanos::ZERO,
            has_file: false,
            counted: Tally { sent: 0, lost: 0 },
            untraced: Tally { sent: 0, lost: 0 },
            set_aside: Tally { sent: 0, lost: 0 },
            left_out: Tally { sent: 0, lost: 0 },
            links: BTreeMap::new(),
            lossy: BTreeMap::new(),
            lossy_left_out: 0,
            rnics: BTreeMap::new(),
            missing: Vec::new(),
            differences: Vec::new(),
        }
    }

    /// Adds what was counted later; what it says of files, ToRs and missing hosts replaces what was said before.
    pub fn add(&mut self, later: &Self) {
        self.interval.end = self.interval.end.max(later.interval.end);
        self.covered = Nanos(self.covered.0.saturating_add(later.covered.0));
        self.has_file = later.has_file;
        self.counted.add(later.counted);
        self.untraced.add(later.untraced);
        self.set_aside.add(later.set_aside);
        self.left_out.add(later.left_out);
        for (name, link) in &later.links {
            let known = self.links.entry(name.clone()).or_default();
            known.cables = link.cables;
            known.paths = known.paths.max(link.paths);
            known.tally.add(link.tally);
        }
        for (links, tally) in &later.lossy {
            self.lossy.entry(links.clone()).or_default().add(*tally);
        }
        self.lossy_left_out = self.lossy_left_out.saturating_add(later.lossy_left_out);
        self.shorten();
        for (name, rnic) in &later.rnics {
            self.rnics.entry(name.clone()).or_default().add(rnic);
        }
        self.missing.clone_from(&later.missing);
        self.differences.clone_from(&later.differences);
    }

    /// Forgets what was counted of links; what is known of cables and RNICs stays.
    pub(super) fn restart(&mut self) {
        self.interval.start = self.interval.end;
        self.covered = Nanos::ZERO;
        for sum in [
            &mut self.counted,
            &mut self.untraced,
            &mut self.set_aside,
            &mut self.left_out,
        ] {
            *sum = Tally::default();
        }
        for link in self.links.values_mut() {
            link.tally = Tally::default();
        }
        self.lossy.clear();
        self.lossy_left_out = 0;
    }

    /// Drops sets of links with few losses where there are too many.
    pub(super) fn shorten(&mut self) {
        if self.lossy.len() <= MOST_LOSSY {
            return;
        }
        let mut sets: Vec<_> = std::mem::take(&mut self.lossy).into_iter().collect();
        sets.sort_by_key(|(_, tally)| std::cmp::Reverse(tally.lost));
        for (_, tally) in sets.split_off(MOST_LOSSY) {
            self.lossy_left_out = self.lossy_left_out.saturating_add(tally.lost);
        }
        self.lossy = sets.into_iter().collect();
    }

    /// Whether a node is an RNIC.
    pub fn is_rnic(&self, node: &str) -> bool {
        node.parse::<RnicName>()
            .is_ok_and(|name| self.rnics.contains_key(&name))
    }
}

impl RnicEvidence {
    fn add(&mut self, later: &Self) {
        self.gid = later.gid;
        self.tor.clone_from(&later.tor);
        self.file_tors.clone_from(&later.file_tors);
        self.first_switches.clone_from(&later.first_switches);
        self.tally.add(later.tally);
        self.rtt.add(later.rtt);
        self.prober_delay.add(later.prober_delay);
        self.responder_delay.add(later.responder_delay);
    }
}
