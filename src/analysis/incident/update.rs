//! How an incident follows the findings about it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::watch::length;
use super::{Explained, Incident, MOST_EXPLAINED, Severity, Subjects};
use crate::analysis::judge::{Category, Finding};
use crate::analysis::localize::interval::wilson;
use crate::id::ServiceName;
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

/// The 95 % interval of a rate of loss; `None` for what is no rate, or was not estimated. For the share of another horizon than the
/// finding's own it is Wilson's, as if the finding's losses had been counted among as many probes as give this share.
fn interval(finding: &Finding, share: f64) -> Option<[f64; 2]> {
    let is_rate = matches!(
        finding.category,
        Category::LinkLoss | Category::SwitchLoss | Category::RnicLoss | Category::Undecided
    );
    let own = finding.loss_interval.filter(|_| is_rate)?;
    if (share - finding.share).abs() < f64::EPSILON {
        return Some(own);
    }
    let lost = finding.probes.lost.max(1) as f64;
    Some(wilson(lost, lost / share.max(f64::MIN_POSITIVE)))
}

fn names(services: &BTreeMap<ServiceName, bool>) -> BTreeMap<String, bool> {
    services
        .iter()
        .map(|(name, suffers)| (name.as_str().to_owned(), *suffers))
        .collect()
}

/// Takes the services of a newer finding over.
fn join(known: &mut BTreeMap<String, bool>, services: &BTreeMap<ServiceName, bool>) {
    for (service, suffers) in names(services) {
        *known.entry(service).or_default() |= suffers;
    }
}

impl Incident {
    pub(super) fn new(finding: &Finding, id: u64, now: WallTime) -> Self {
        let services = names(&finding.services);
        let mut perhaps = names(&finding.perhaps);
        perhaps.retain(|service, _| !services.contains_key(service));
        Self {
            id,
            subject: finding.subject.clone(),
            both_directions: finding.both_directions,
            or: finding.or.clone(),
            deciding: finding.deciding,
            category: finding.category,
            severity: Severity::of(finding.category, &services, &perhaps),
            opened_unix_ns: now.nanos(),
            seen_unix_ns: now.nanos(),
            closed_unix_ns: None,
            confidence: finding.confidence,
            share: finding.share,
            interval: interval(finding, finding.share),
            sent: finding.probes.sent,
            lost: finding.probes.lost,
            services,
            perhaps,
            evidence: finding.evidence.clone(),
            openings: 1,
            explains: Vec::new(),
            subjects: Subjects::default(),
            cause: None,
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
        join(&mut self.services, &finding.services);
        join(&mut self.perhaps, &finding.perhaps);
        let services = &self.services;
        self.perhaps
            .retain(|service, _| !services.contains_key(service));
        let severity = Severity::of(self.category, &self.services, &self.perhaps);
        self.severity = self.severity.min(severity);
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
        self.deciding = finding.deciding;
        if self.category != Category::Flapping {
            self.category = finding.category;
        }
        self.confidence = finding.confidence;
        let age = now.since(WallTime::from_nanos(self.opened_unix_ns));
        self.share = best_share(finding, age);
        self.interval = interval(finding, self.share);
        self.sent = finding.probes.sent;
        self.lost = finding.probes.lost;
        self.evidence.clone_from(&finding.evidence);
        worse || before != (self.category, self.subject.clone(), self.both_directions)
    }

    /// As the list of its cause has it.
    pub(super) fn as_explained(&self) -> Explained {
        Explained {
            subject: self.subject.clone(),
            category: self.category,
            title: self.title(),
            incident: Some(self.id),
            seen_unix_ns: self.seen_unix_ns,
        }
    }

    /// Takes what it explains in this run; `subjects` is how many subjects a group has now.
    pub(super) fn explain(&mut self, explains: Vec<Explained>, subjects: u64) {
        self.subjects.now = subjects;
        self.subjects.most = self.subjects.most.max(subjects);
        for one in explains {
            let known = self
                .explains
                .iter()
                .position(|known| (&known.subject, known.category) == (&one.subject, one.category));
            if let Some(known) = known {
                let known = &mut self.explains[known];
                known.title = one.title;
                known.seen_unix_ns = one.seen_unix_ns;
                known.incident = one.incident.or(known.incident);
            } else if self.explains.len() < MOST_EXPLAINED {
                self.explains.push(one);
            } else {
                let oldest = self
                    .explains
                    .iter_mut()
                    .min_by_key(|known| known.seen_unix_ns)
                    .filter(|oldest| oldest.seen_unix_ns < one.seen_unix_ns);
                if let Some(oldest) = oldest {
                    *oldest = one;
                }
            }
        }
    }
}
