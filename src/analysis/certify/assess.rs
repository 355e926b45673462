//! From evidence to a report.

use std::collections::BTreeSet;

use super::evidence::{Evidence, LinkName, Tally};
use super::report::{Fault, FaultKind, LinkState, Report, Verdict};
use super::{links, rnics, wiring};
use crate::analysis::localize::ProblemError;
use crate::id::{HostName, RnicName};
use crate::time::Nanos;

/// Nothing is accepted before so much time was counted: incidents take up to 20 s to open.
const LEAST_COVERED: Nanos = Nanos(30_000_000_000);

/// What nobody tells the analyzer.
const NOT_CHECKED: [&str; 4] = [
    "MTU of ports and switches: probes are small",
    "firmware and driver versions of RNICs and switches: agents do not report them",
    "whether switches keep the DSCP class lossless (PFC, ECN): probes show its delay alone",
    "throughput: probes do not load the fabric",
];

/// What is to be assessed.
#[derive(Debug, Clone)]
pub struct Assessed<'a> {
    /// What was counted.
    pub evidence: &'a Evidence,
    /// The share of packets that a link may lose, above 0 and below 1.
    pub loss: f64,
    /// The hosts that it is about; all where it is empty.
    pub hosts: &'a BTreeSet<HostName>,
    /// What is known to be wrong already: incidents, and what earlier reports have said.
    pub known: &'a [Fault],
    /// RNICs that agents cannot use, and why.
    pub unusable: &'a [(RnicName, String)],
}

/// Compares evidence with the bound and with the file.
///
/// # Errors
/// Counts that contradict each other.
pub fn assess(assessed: &Assessed<'_>) -> Result<Report, ProblemError> {
    let Assessed { evidence, loss, .. } = *assessed;
    let scope = Scope::of(assessed);
    let mut faults = assessed.known.to_vec();
    faults.extend(links::lossy(evidence, loss)?);
    faults.extend(wiring::faults(evidence));
    faults.extend(rnics::faults(evidence));
    faults.extend(assessed.unusable.iter().map(|(name, why)| {
        let text = format!("RNIC {name} cannot be used: {why}");
        Fault::new(FaultKind::RnicUnusable, vec![name.to_string()], text)
    }));
    let suspects: BTreeSet<String> = faults
        .iter()
        .flat_map(|fault| fault.suspects.clone())
        .collect();
    let mut seen = BTreeSet::new();
    faults.retain(|fault| {
        let key = (fault.kind, fault.category.clone(), fault.subjects.clone());
        scope.has_fault(fault) && seen.insert(key)
    });
    let links = links::results(evidence, loss, &suspects, &|link| scope.has_link(link));
    let count = |state| links.iter().filter(|link| link.state == state).count();
    let proven = count(LinkState::Proven);
    let verdict = if !faults.is_empty() {
        Verdict::Faults
    } else if proven == links.len() && proven > 0 && evidence.covered >= LEAST_COVERED {
        Verdict::Accepted
    } else {
        Verdict::Open
    };
    let mut open = links.iter().filter(|link| link.state == LinkState::Open);
    let left = open.try_fold(0, |most: i64, link| Some(most.max(link.left_ns?)));
    Ok(Report {
        verdict,
        loss,
        start_unix_ns: evidence.interval.start.nanos(),
        end_unix_ns: evidence.interval.end.nanos(),
        covered_ns: evidence.covered.0,
        probes: evidence.counted.sent,
        lost: evidence.counted.lost,
        untraced: evidence.untraced.sent,
        set_aside: evidence.set_aside.sent,
        left_out: evidence.left_out.sent,
        rnics: evidence.rnics.keys().filter(|rnic| scope.has(rnic)).count(),
        proven,
        left_ns: left.filter(|_| evidence.counted.sent > 0).map(Nanos),
        notes: notes(evidence, count(LinkState::Unseen)),
        not_checked: not_checked(evidence),
        faults,
        links,
        elsewhere: suspects,
    })
}

fn notes(evidence: &Evidence, unseen: usize) -> Vec<String> {
    let mut notes = evidence.differences.clone();
    if unseen > 0 {
        notes.push(format!(
            "no probe with a known path has crossed {unseen} links: nothing is said about them"
        ));
    }
    let Tally { sent, .. } = evidence.untraced;
    if sent > 0 {
        notes.push(format!(
            "the path of {sent} probes, or that of their ACKs, is not known: they do not count"
        ));
    }
    if evidence.lossy_left_out > 0 {
        notes.push(format!(
            "{} losses are spread over too many paths to be located; they count in the bounds",
            evidence.lossy_left_out
        ));
    }
    notes
}

fn not_checked(evidence: &Evidence) -> Vec<String> {
    let mut not_checked: Vec<String> = NOT_CHECKED.map(str::to_owned).to_vec();
    if !evidence.has_file {
        let text = "cables against a plan: the analyzer has no topology file";
        not_checked.insert(0, text.to_owned());
    }
    not_checked
}

/// The part that is asked for: RNICs of the hosts, and the links of these and of their ToRs.
struct Scope<'a> {
    evidence: &'a Evidence,
    hosts: &'a BTreeSet<HostName>,
    /// The RNICs and their ToRs.
    nodes: BTreeSet<String>,
}

impl<'a> Scope<'a> {
    fn of(assessed: &Assessed<'a>) -> Self {
        let hosts = assessed.hosts;
        let rnics = assessed.evidence.rnics.iter();
        let asked = rnics.filter(|(name, _)| hosts.contains(&name.host));
        Self {
            evidence: assessed.evidence,
            hosts,
            nodes: asked
                .flat_map(|(name, rnic)| [name.to_string(), rnic.tor.clone()])
                .collect(),
        }
    }

    fn has(&self, rnic: &RnicName) -> bool {
        self.hosts.is_empty() || self.hosts.contains(&rnic.host)
    }

    /// A cable of an RNIC is asked for with the RNIC, another one with its ToR.
    fn has_link(&self, link: &LinkName) -> bool {
        let ends = [&link.from, &link.to];
        if self.hosts.is_empty() {
            return true;
        }
        match ends.iter().find(|node| self.evidence.is_rnic(node)) {
            Some(rnic) => self.nodes.contains(*rnic),
            None => ends.iter().any(|node| self.nodes.contains(*node)),
        }
    }

    fn has_fault(&self, fault: &Fault) -> bool {
        if self.hosts.is_empty() || fault.subjects.is_empty() {
            return true;
        }
        // RNICs and hosts that do not report are in no evidence: they are known by their names alone.
        let has_node = |node: &str| {
            let node = node.strip_prefix("host ").unwrap_or(node);
            let rnic = node.parse::<RnicName>().ok();
            self.nodes.contains(node)
                || self.hosts.contains(&HostName::new(node))
                || rnic.is_some_and(|rnic| self.hosts.contains(&rnic.host))
        };
        fault.subjects.iter().any(|subject| {
            let ends = subject.split_once("->");
            ends.is_some_and(|(from, to)| has_node(from) || has_node(to))
                || has_node(subject)
                || self.nodes.iter().any(|node| {
                    // A cable: `A-B`.
                    subject
                        .strip_prefix(&**node)
                        .is_some_and(|rest| rest.starts_with('-'))
                        || subject
                            .strip_suffix(&**node)
                            .is_some_and(|rest| rest.ends_with('-'))
                })
        })
    }
}
