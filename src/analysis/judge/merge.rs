//! Findings of one run that are about the same thing.

use std::collections::{BTreeMap, BTreeSet};

use super::counts::{Counts, Horizon};
use super::finding::{Category, Finding};
use super::snapshot::Snapshot;
use super::view::Observed;
use super::{hosts, selective};
use crate::analysis::localize::Component;
use crate::analysis::rnic;
use crate::id::DeviceName;

/// One finding per subject: the category that says most, over the shortest horizon.
pub(super) fn merge(findings: Vec<Finding>) -> Vec<Finding> {
    let mut merged: Vec<Finding> = Vec::new();
    for finding in findings {
        match merged
            .iter_mut()
            .find(|known| known.subject == finding.subject)
        {
            Some(known) => {
                let mut other = finding;
                if other.outranks(known) {
                    std::mem::swap(&mut other, known);
                }
                if other.category == known.category && other.horizon != known.horizon {
                    known.shares.push((other.horizon, other.share));
                }
            }
            None => merged.push(finding),
        }
    }
    merged
}

/// Whether an RNIC is suspected for what befalls some of its 5-tuples and spares the others: an RNIC and its cable do not look
/// at 5-tuples, a switch does. `paths` are those from and to it.
pub(super) fn is_of_some_tuples(
    verdict: &rnic::Verdict,
    snapshot: &Snapshot,
    paths: &[Observed<'_>],
) -> bool {
    let finding = verdict.finding();
    if finding.loss >= hosts::DOWN {
        return false;
    }
    // Each direction alone: an RNIC may well lose only what is sent to it.
    let is_of = |seen: &Observed<'_>, from: bool| {
        let end = if from {
            &seen.source_name
        } else {
            &seen.target_name
        };
        **end == finding.rnic && !snapshot.is_waited_for(&seen.target.host)
    };
    [Horizon::Now, Horizon::Short].into_iter().any(|horizon| {
        [true, false].into_iter().any(|from| {
            let paths: Vec<Counts> = paths
                .iter()
                .filter(|seen| is_of(seen, from))
                .map(|seen| seen.weighed(horizon))
                .filter(|counts| counts.sent > 0)
                .collect();
            selective::is_selective(&paths)
        })
    })
}

/// Both directions of a cable as one finding, about the one with more evidence.
pub(super) fn cables(findings: Vec<Finding>) -> Vec<Finding> {
    let mut kept: Vec<Finding> = Vec::new();
    for mut finding in findings {
        let other = finding
            .subject
            .reverse()
            .filter(|_| finding.or.is_empty())
            .and_then(|reverse| {
                kept.iter_mut()
                    .find(|known| known.subject == reverse && known.or.is_empty())
            });
        let Some(other) = other else {
            kept.push(finding);
            continue;
        };
        let is_plainer = (finding.hard, finding.nats) > (other.hard, other.nats);
        if is_plainer {
            std::mem::swap(&mut finding, other);
        }
        other.both_directions = true;
        other.evidence.push(format!(
            "the other direction of the cable, too: {} of {} probes lost or slow across it",
            finding.probes.lost, finding.probes.sent
        ));
        for (service, suffers) in finding.services {
            *other.services.entry(service).or_default() |= suffers;
        }
        for (service, suffers) in finding.perhaps {
            *other.perhaps.entry(service).or_default() |= suffers;
        }
    }
    kept
}

/// Hosts of which every RNIC is down, or every RNIC loses packets, as one finding each, in the place of those of the RNICs:
/// rather the host, its driver or its PCIe than so many cables at once. Hosts with one RNIC are left as they are.
pub(super) fn whole_hosts(findings: Vec<Finding>, snapshot: &Snapshot) -> Vec<Finding> {
    [Category::RnicDown, Category::RnicLoss]
        .into_iter()
        .fold(findings, |findings, category| {
            whole_hosts_of(category, findings, snapshot)
        })
}

fn whole_hosts_of(category: Category, findings: Vec<Finding>, snapshot: &Snapshot) -> Vec<Finding> {
    let is_one = |finding: &Finding| finding.category == category && finding.or.is_empty();
    let mut bad: BTreeMap<String, BTreeSet<DeviceName>> = BTreeMap::new();
    for finding in findings.iter().filter(|finding| is_one(finding)) {
        if let Component::Rnic { host, device } = &finding.subject {
            let devices = bad.entry(host.to_string()).or_default();
            devices.insert(device.clone());
        }
    }
    // Beside a finding about the host itself nothing more is said.
    bad.retain(|host, devices| {
        devices.len() > 1
            && !findings
                .iter()
                .any(|finding| is_host(&finding.subject, host))
    });
    if bad.is_empty() {
        return findings;
    }
    let ends = snapshot
        .paths()
        .flat_map(|seen| [&seen.source, &seen.target]);
    for end in ends {
        if bad
            .get(end.host.as_str())
            .is_some_and(|devices| !devices.contains(&end.device))
        {
            bad.remove(end.host.as_str());
        }
    }
    let (parts, mut kept): (Vec<Finding>, Vec<Finding>) =
        findings.into_iter().partition(|finding| {
            let host = matches!(finding.subject, Component::Rnic { .. })
                .then(|| finding.subject.host())
                .flatten();
            is_one(finding) && host.is_some_and(|host| bad.contains_key(host))
        });
    for (host, devices) in bad {
        let of_host: Vec<&Finding> = parts
            .iter()
            .filter(|part| part.subject.host() == Some(&host))
            .collect();
        kept.extend(whole_host(&host, devices.len(), &of_host));
    }
    kept
}

fn is_host(subject: &Component, host: &str) -> bool {
    matches!(subject, Component::Host { name } if name == host)
}

/// The finding of the plainest of a host's RNICs, about all of them.
fn whole_host(host: &str, count: usize, parts: &[&Finding]) -> Option<Finding> {
    let plainest = parts.iter().max_by(|a, b| a.nats.total_cmp(&b.nats))?;
    let mut finding = (*plainest).clone();
    finding.subject = Component::Host {
        name: host.to_owned(),
    };
    let is_down = finding.category == Category::RnicDown;
    finding.shares.clear();
    finding.probes = Counts::default();
    for part in parts {
        finding.probes.add(part.probes);
        if is_down {
            finding.share = finding.share.min(part.share);
        }
        for (service, suffers) in &part.services {
            *finding.services.entry(service.clone()).or_default() |= suffers;
        }
        for (service, suffers) in &part.perhaps {
            *finding.perhaps.entry(service.clone()).or_default() |= suffers;
        }
    }
    let what = if is_down { "are down" } else { "lose packets" };
    finding.evidence.insert(
        0,
        format!(
            "all {count} RNICs of host {host} {what}: look at the host and at what its RNICs share, such as driver, PCIe switch \
             and firmware"
        ),
    );
    Some(finding)
}

impl Finding {
    /// A state that was seen, not inferred from losses.
    pub(in crate::analysis) fn of_state(
        subject: Component,
        category: Category,
        share: f64,
    ) -> Self {
        hosts::blank(subject, category, share)
    }

    /// Whether it should stand for its subject in another's place: losses before latency, certainty before doubt, and the
    /// longer horizon only when it says that the fault is a dead thing rather than a lossy one.
    fn outranks(&self, other: &Self) -> bool {
        let rank = |finding: &Self| match finding.category {
            // An RNIC that cannot send and does not answer either is down.
            Category::Undecided
            | Category::CpuOverload
            | Category::MissingRoute
            | Category::Clock
            | Category::MonitoringBlind
            | Category::MonitoringSilence
            | Category::MonitoringMissing
            | Category::MonitoringLate
            | Category::MonitoringEvicted
            | Category::MonitoringStore
            | Category::MonitoringFull => 0,
            Category::Congestion
            | Category::PauseStorm
            | Category::RnicSlow
            | Category::UnevenEcmp => 1,
            // What is dead or swallows whole 5-tuples loses a share of the probes as well.
            Category::Blackhole
            | Category::LinkDown
            | Category::SwitchDown
            | Category::RnicDown
            | Category::HostDown => 3,
            Category::AgentSilent
            | Category::Withdrawn
            | Category::RnicLoss
            | Category::Flapping
            | Category::LinkLoss
            | Category::SwitchLoss => 2,
        };
        (rank(self), self.confidence > 0.5) > (rank(other), other.confidence > 0.5)
    }
}
