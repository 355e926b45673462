//! How an incident follows the findings about it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::watch::length;
use super::{Incident, Severity};
use crate::analysis::judge::{Category, Finding};
use crate::time::WallTime;

/// Lines of evidence that are kept.
const MOST_EVIDENCE: usize = 40;

/// The share over the longest horizon that the incident has filled: short ones are noisy, longer ones hold what was before.
fn best_share(finding: &Finding, age: Duration) -> f64 {
    std::iter::once(&(finding.horizon, finding.share))
        .chain(&finding.shares)
        .filter(|(horizon, _)| length(*horizon) <= age)
        .max_by_key(|(horizon, _)| *horizon)
        .map_or(finding.share, |(_, share)| *share)
}

fn services(finding: &Finding) -> BTreeMap<String, bool> {
    finding
        .services
        .iter()
        .map(|(name, suffers)| (name.as_str().to_owned(), *suffers))
        .collect()
}

impl Incident {
    pub(super) fn new(finding: &Finding, id: u64, now: WallTime) -> Self {
        let services = services(finding);
        Self {
            id,
            subject: finding.subject.clone(),
            both_directions: finding.both_directions,
            or: finding.or.clone(),
            category: finding.category,
            severity: Severity::of(&services),
            opened_unix_ns: now.nanos(),
            seen_unix_ns: now.nanos(),
            closed_unix_ns: None,
            confidence: finding.confidence,
            share: finding.share,
            sent: finding.probes.sent,
            lost: finding.probes.lost,
            services,
            evidence: finding.evidence.clone(),
            openings: 1,
        }
    }

    pub(super) fn note(&mut self, line: String) {
        if self.evidence.len() < MOST_EVIDENCE {
            self.evidence.push(line);
        }
    }

    /// It was seen again; whether its impact is worse than before.
    pub(super) fn sight(&mut self, finding: &Finding, now: WallTime) -> bool {
        let before = self.severity;
        self.seen_unix_ns = now.nanos();
        for (service, suffers) in services(finding) {
            *self.services.entry(service).or_default() |= suffers;
        }
        self.severity = self.severity.min(Severity::of(&self.services));
        before != self.severity
    }

    /// Takes a newer finding over; whether somebody should be told.
    pub(super) fn update(&mut self, finding: &Finding, now: WallTime) -> bool {
        // What was certain stays so.
        if !finding.or.is_empty() && self.or.is_empty() {
            return self.sight(finding, now);
        }
        let before = (self.category, self.subject.clone(), self.both_directions);
        let worse = self.sight(finding, now);
        if finding.subject.reverse().as_ref() == Some(&self.subject) {
            self.both_directions = true;
        } else {
            self.subject = finding.subject.clone();
            self.both_directions |= finding.both_directions;
        }
        self.or.clone_from(&finding.or);
        if self.category != Category::Flapping {
            self.category = finding.category;
        }
        self.confidence = finding.confidence;
        let age = now.since(WallTime::from_nanos(self.opened_unix_ns));
        self.share = best_share(finding, age);
        self.sent = finding.probes.sent;
        self.lost = finding.probes.lost;
        self.evidence.clone_from(&finding.evidence);
        worse || before != (self.category, self.subject.clone(), self.both_directions)
    }
}
