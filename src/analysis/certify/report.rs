//! What a certification says.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::analysis::localize::Component;
use crate::time::Nanos;

/// The answer in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every link is below the bound, and nothing is wrong.
    Accepted,
    /// Something is wrong.
    Faults,
    /// Nothing is wrong so far, and not every link is below the bound.
    Open,
}

/// What kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// An incident was open during the certification.
    Incident,
    /// A link loses more than the bound: told from the sum of all losses, too mild for an incident.
    LinkLoss,
    /// Two cables or RNICs are where the other one should be.
    Swapped,
    /// An RNIC is under another ToR than the file says, or than it reports.
    WrongTor,
    /// An RNIC is under another ToR than its namesakes on hosts that are cabled to the same ToRs.
    OtherRail,
    /// The file has a cable that no path crosses, though many could.
    CableUnused,
    /// Paths cross a link that the file does not have.
    CableUnknown,
    /// The file has a host or RNIC that reports nothing.
    Missing,
    /// An agent says that it cannot use an RNIC.
    RnicUnusable,
    /// Round trips of an RNIC are slower than those of its siblings.
    RnicSlow,
    /// A host answers or sends slower than the others.
    HostSlow,
    /// A GID is of another kind than those of the other RNICs.
    Gid,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// Which kind.
    pub kind: FaultKind,
    /// The category of the incident, where it is one.
    #[serde(default)]
    pub category: Option<String>,
    /// What it is about: names of RNICs, hosts, switches; a link as `A->B`.
    pub subjects: Vec<String>,
    /// In one sentence.
    pub text: String,
    /// Probes that cross these say nothing about other links.
    #[serde(default)]
    pub suspects: BTreeSet<String>,
}

impl Fault {
    /// One that only says something.
    pub(super) fn new(kind: FaultKind, subjects: Vec<String>, text: String) -> Self {
        Self {
            kind,
            category: None,
            subjects,
            text,
            suspects: BTreeSet::new(),
        }
    }

    /// Of an incident.
    pub fn of_incident(
        category: impl Into<String>,
        components: &[Component],
        both_directions: bool,
        title: impl Into<String>,
    ) -> Self {
        let both = components.iter().flat_map(|component| {
            let reverse = both_directions.then(|| component.reverse()).flatten();
            [Some(component.clone()), reverse].into_iter().flatten()
        });
        let suspects: BTreeSet<String> = both.filter_map(|one| plain(&one)).collect();
        Self {
            kind: FaultKind::Incident,
            category: Some(category.into()),
            subjects: components.iter().filter_map(plain).collect(),
            text: title.into(),
            suspects,
        }
    }
}

/// A component's name without its kind; none of a group.
fn plain(component: &Component) -> Option<String> {
    match component {
        Component::Link { from, to } => Some(format!("{from}->{to}")),
        other => other.node().map(std::borrow::Cow::into_owned),
    }
}

/// What is known of a link's loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkState {
    /// A fault is about it.
    Faulty,
    /// No probe has crossed it whose path is known.
    Unseen,
    /// Too few probes, or too many losses, to say that it is below the bound.
    Open,
    /// It loses less than the bound.
    Proven,
}

/// One direction of a cable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinkResult {
    /// The end that sends.
    pub from: String,
    /// The end that receives.
    pub to: String,
    /// What is known.
    pub state: LinkState,
    /// Probes that crossed it, or whose ACK did.
    pub sent: u64,
    /// Those of them that were lost, here or elsewhere.
    pub lost: u64,
    /// At most this share of its packets is lost, 0 to 1, at 95 %.
    pub bound: f64,
    /// Nanoseconds until the bound is reached at today's rate, if no more is lost; null where no probe crosses it.
    pub left_ns: Option<i64>,
}

/// What a certification says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// In one word.
    pub verdict: Verdict,
    /// The share of packets that a link may lose, 0 to 1.
    pub loss: f64,
    /// From when, nanoseconds since the Unix epoch,
    pub start_unix_ns: i64,
    /// to when.
    pub end_unix_ns: i64,
    /// Time that was counted.
    pub covered_ns: i64,
    /// Probes that count.
    pub probes: u64,
    /// Those of them that were lost.
    pub lost: u64,
    /// Probes that do not count, because their path is not known.
    pub untraced: u64,
    /// Probes that do not count, because a host may have disturbed them.
    pub set_aside: u64,
    /// Probes that do not count, because they crossed what is faulty.
    pub left_out: u64,
    /// RNICs looked at.
    pub rnics: usize,
    /// Links that are below the bound.
    pub proven: usize,
    /// Nanoseconds until every link that carries probes is below the bound, at today's rates and if no more is lost; null where
    /// that is not known yet.
    pub left_ns: Option<Nanos>,
    /// What is wrong.
    pub faults: Vec<Fault>,
    /// The links, the worst first.
    pub links: Vec<LinkResult>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
    /// What was not looked at.
    pub not_checked: Vec<String>,
    /// Suspects outside of the part that is asked for: probes that cross them say nothing about this part either.
    #[serde(skip)]
    pub elsewhere: BTreeSet<String>,
}

impl Report {
    /// Links, RNICs, hosts and switches through which probes say nothing about others.
    pub fn suspects(&self) -> BTreeSet<String> {
        let faults = self.faults.iter();
        let found = faults.flat_map(|fault| fault.suspects.clone());
        found.chain(self.elsewhere.iter().cloned()).collect()
    }

    /// What decides how long it takes: the link that needs longest, of those that carry probes.
    pub fn slowest(&self) -> Option<&LinkResult> {
        self.links
            .iter()
            .filter(|link| link.state == LinkState::Open)
            .max_by_key(|link| link.left_ns)
    }
}
