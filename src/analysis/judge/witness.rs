//! A second witness: no host's word alone blames the network or another host.
//!
//! Losses and slow round trips are what agents say. A fault between hosts is crossed by the probes, or by the ACKs, of several of
//! them, and each of these agents reports it: a probe crosses its path in both directions. So a finding that a single host's
//! agent supports, while the others' probes cross the subject unharmed or not at all, is that host's own trouble, or a lie. It
//! is held back until another host's agent supports it. Where what is suspected may be of that host itself, that is what
//! remains of the finding: a host may accuse itself.
//!
//! Where a single host reports at all there is nobody to contradict or confirm it: its word is taken.

use std::collections::HashMap;

use super::counts::Counts;
use super::finding::{Category, Finding};
use super::view::{Observed, View};
use crate::analysis::localize::Component;
use crate::id::HostName;

/// Share of the losses to be expected that the other hosts together must have.
const STILL: f64 = 0.2;

/// What hosts other than the one with the most losses say of a subject.
#[derive(Debug, Default, Clone, Copy)]
struct Word {
    counts: Counts,
    /// Probes that its agent could not send over it.
    unsent: u64,
    /// Losses that it would have if it met what the finding says.
    expected: f64,
}

/// The findings that more than one host supports or that are about the host itself, and how many were held back.
pub(super) fn confirmed(findings: Vec<Finding>, view: &View<'_>) -> (Vec<Finding>, usize) {
    let mut reporting = view.snapshot.paths().map(|seen| &seen.source.host);
    let first = reporting.next();
    if reporting.all(|host| Some(host) == first) {
        return (findings, 0);
    }
    let all = findings.len();
    let kept: Vec<_> = findings
        .into_iter()
        .filter_map(|finding| match sole_witness(&finding, view) {
            None => Some(finding),
            Some(host) => about_itself(finding, &host),
        })
        .collect();
    let held = all - kept.len();
    (kept, held)
}

/// Whether a finding rests on what agents say of losses or round trips.
const fn is_reported(finding: &Finding) -> bool {
    match finding.category {
        Category::RnicDown
        | Category::RnicLoss
        | Category::LinkDown
        | Category::LinkLoss
        | Category::SwitchDown
        | Category::SwitchLoss
        | Category::Blackhole
        | Category::Congestion
        | Category::PauseStorm
        | Category::RnicSlow
        | Category::Undecided => true,
        // What a host's own agent says of itself, or the analyzer sees itself; and traces.
        Category::HostDown
        | Category::AgentSilent
        | Category::Flapping
        | Category::CpuOverload
        | Category::MissingRoute
        | Category::UnevenEcmp
        | Category::Withdrawn
        | Category::Clock
        | Category::MonitoringBlind
        | Category::MonitoringSilence
        | Category::MonitoringMissing
        | Category::MonitoringLate
        | Category::MonitoringEvicted
        | Category::MonitoringStore
        | Category::MonitoringFull => false,
    }
}

const fn is_slow(finding: &Finding) -> bool {
    matches!(
        finding.category,
        Category::Congestion | Category::PauseStorm | Category::RnicSlow
    )
}

/// The host that alone supports a finding.
fn sole_witness(finding: &Finding, view: &View<'_>) -> Option<HostName> {
    if !is_reported(finding) {
        return None;
    }
    let crossing = crossing(&finding.subject, view);
    let mut words: HashMap<&HostName, Word> = HashMap::new();
    for (seen, share) in &crossing {
        let counts = if is_slow(finding) {
            seen.slow()
        } else {
            seen.weighed(finding.horizon)
        };
        let word = words.entry(&seen.source.host).or_default();
        word.counts.add(counts);
        word.unsent = word.unsent.saturating_add(seen.unsent(finding.horizon));
        word.expected += finding.share * share * counts.sent as f64;
    }
    let (first, _) = words
        .iter()
        .max_by_key(|(host, word)| (word.counts.lost, *host))?;
    let first = (*first).clone();
    words.remove(&first);
    let mut others = Word::default();
    for word in words.values() {
        others.counts.add(word.counts);
        others.unsent = others.unsent.saturating_add(word.unsent);
        others.expected += word.expected;
    }
    let support = others.counts.lost as f64;
    let is_confirmed = others.unsent > 0 || support >= (STILL * others.expected).max(1.0);
    (!is_confirmed).then_some(first)
}

/// The paths that cross a subject, each with the share of its packets that do.
fn crossing<'a>(subject: &Component, view: &View<'a>) -> Vec<(Observed<'a>, f64)> {
    match subject {
        Component::Rnic { .. } | Component::Host { .. } => {
            let paths = view.touching(subject).into_iter();
            paths.map(|seen| (seen, 1.0)).collect()
        }
        Component::Link { .. } | Component::Switch { .. } | Component::Group { .. } => {
            view.crossing(subject)
        }
    }
}

/// What remains of a finding that one host supports: that it may be this host's own trouble.
fn about_itself(mut finding: Finding, host: &HostName) -> Option<Finding> {
    let is_own = |component: &Component| match component {
        Component::Rnic { host: of, .. } => of == host,
        Component::Host { name } => name == host.as_str(),
        Component::Link { .. } | Component::Switch { .. } | Component::Group { .. } => false,
    };
    if !is_own(&finding.subject) {
        let at = finding.or.iter().position(is_own)?;
        finding.subject = finding.or.swap_remove(at);
    }
    finding.or.retain(is_own);
    finding.evidence.push(format!(
        "only the agent of {host} reports it: other hosts are not blamed on one host's word"
    ));
    Some(finding)
}
