//! The analyzer's incidents beside the injected faults: what was located, when, and whether it was right.
#![warn(clippy::wildcard_enum_match_arm)]

use std::collections::BTreeSet;
use std::time::Duration;

use super::check::Check;
use super::lines::{IncidentLine, LocatedJson, MissedJson};
use super::show::Summary;
use crate::analysis::incident::{Change, Incident};
use crate::analysis::judge::Category;
use crate::analysis::localize::Component;
use crate::fabric::Engine;
use crate::fabric::fault::Resolved;
use crate::fault::{Effect, Target};
use crate::id::RnicName;

/// How long a fault must have been there for a missing incident to be wrong: the paper's 20 s, and as much for the agents
/// to start.
const MUST_SHOW: Duration = Duration::from_secs(40);
/// The mildest loss that must show in that time.
const LEAST_LOSS: f64 = 0.01;

/// Collects incidents while a lab runs.
#[derive(Debug, Default)]
pub(crate) struct Located {
    incidents: Vec<Lifetime>,
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

impl Located {
    /// Takes a change that came `since` the start.
    pub(crate) fn take(&mut self, change: &Change, since: Duration) -> IncidentLine {
        let incident = change.incident();
        let known = self
            .incidents
            .iter_mut()
            .find(|(known, ..)| known.id == incident.id);
        let closed = matches!(change, Change::Closed(_)).then_some(since);
        match known {
            Some(known) => (known.0, known.2) = (incident.clone(), closed),
            None => self.incidents.push((incident.clone(), since, closed)),
        }
        IncidentLine {
            elapsed_ns: nanos(since),
            change: match change {
                Change::Opened(_) => "opened",
                Change::Updated(_) | Change::Refined(_) => "changed",
                Change::Closed(_) => "closed",
            },
            id: incident.id,
            severity: incident.severity.name(),
            category: incident.category.name(),
            title: incident.title(),
            deciding: incident.deciding,
        }
    }

    /// Compares with the faults of the engine and writes the result into the summary of a run that ended `ended` after
    /// its start.
    pub(crate) fn judge(self, engine: &Engine, ended: Duration, summary: &mut Summary) {
        // A fault that would have begun later has not been there.
        let faults: Vec<&Resolved> = engine
            .fault_truth()
            .map(|(fault, _)| fault)
            .filter(|fault| fault.fault.at < ended)
            .collect();
        summary.missed = self.missed(engine, &faults, ended);
        let missing = summary.missed.iter().any(|missed| missed.must_show);
        let judged = faults.iter().any(|fault| must_show(fault, ended));
        let (causes, explained): (Vec<_>, Vec<_>) = self
            .incidents
            .into_iter()
            .partition(|(incident, ..)| !incident.is_explained());
        summary.located = causes
            .into_iter()
            .map(|cause| locate(engine, &faults, cause, &explained))
            .collect();
        let starved = |located: &&LocatedJson| located.is_starved();
        let (groups, hosts): (Vec<_>, Vec<_>) = summary
            .located
            .iter()
            .filter(starved)
            .partition(|located| located.subjects > 0);
        let in_groups = groups.iter().map(|group| group.subjects).max();
        let hosts: BTreeSet<_> = hosts.iter().map(|located| &located.title).collect();
        summary.starved_hosts = hosts
            .len()
            .max(usize::try_from(in_groups.unwrap_or(0)).unwrap_or(usize::MAX));
        let wrong = summary
            .located
            .iter()
            .any(|located| located.right == Check::Wrong);
        summary.locations_right = if wrong || missing {
            Check::Wrong
        } else if judged || faults.is_empty() {
            Check::Right
        } else {
            Check::NotComparable
        };
    }

    /// The faults that no incident names.
    fn missed(&self, engine: &Engine, faults: &[&Resolved], ended: Duration) -> Vec<MissedJson> {
        let is_named = |fault: &Resolved| {
            let mut incidents = self.incidents.iter();
            incidents.any(|(incident, ..)| is_about(engine, incident, fault))
        };
        faults
            .iter()
            .filter(|fault| !is_named(fault))
            .map(|fault| MissedJson {
                fault: fault.fault.to_string(),
                must_show: must_show(fault, ended),
            })
            .collect()
    }
}

/// An incident, when it was opened, and when it was closed.
type Lifetime = (Incident, Duration, Option<Duration>);

/// An incident beside the fault that it is about; `explained` are those that others explain.
fn locate(
    engine: &Engine,
    faults: &[&Resolved],
    (incident, opened, closed): Lifetime,
    explained: &[Lifetime],
) -> LocatedJson {
    let fault = faults
        .iter()
        .find(|fault| is_about(engine, &incident, fault) && fault.fault.at <= opened);
    let right = match fault {
        Some(fault) => is_category_of(fault, incident.category).into(),
        None if incident.category.is_network() => Check::Wrong,
        None => Check::NotComparable,
    };
    LocatedJson {
        category: incident.category.name(),
        severity: incident.severity.name(),
        title: incident.title(),
        confidence: incident.confidence,
        opened_ns: nanos(opened),
        closed_ns: closed.map(nanos),
        fault: fault.map(|fault| fault.fault.to_string()),
        delay_ns: fault.map(|fault| nanos(opened.saturating_sub(fault.fault.at))),
        right,
        explains: explains(
            &incident,
            explained
                .iter()
                .map(|(other, ..)| other)
                .filter(|other| other.is_explained_by(&incident)),
        ),
        subjects: incident.subjects.most,
        evidence: incident.evidence,
        or: incident.or,
        subject: incident.subject,
    }
}

/// Whether an incident may be about a fault.
fn is_about(engine: &Engine, incident: &Incident, fault: &Resolved) -> bool {
    std::iter::once(&incident.subject)
        .chain(&incident.or)
        .chain(incident.explains.iter().map(|one| &one.subject))
        .any(|component| names(engine, fault, component))
}

/// Titles of what an incident explains.
fn explains<'a>(incident: &Incident, explained: impl Iterator<Item = &'a Incident>) -> Vec<String> {
    let mut titles: Vec<String> = explained.map(Incident::title).collect();
    for one in &incident.explains {
        if !titles.contains(&one.title) {
            titles.push(one.title.clone());
        }
    }
    titles
}

/// Whether a fault hits a component.
fn names(engine: &Engine, fault: &Resolved, component: &Component) -> bool {
    let topology = engine.topology();
    let target = fault.fault.target.name();
    match component {
        Component::Link { from, to } => {
            let name = format!("{from}->{to}");
            fault
                .links()
                .iter()
                .any(|link| topology.link_name(*link) == name)
        }
        Component::Switch { name } => {
            matches!(fault.fault.target, Target::Switch(_)) && target == name
        }
        Component::Host { name } => match &fault.fault.target {
            Target::Host(_) => target == name,
            // All its RNICs.
            Target::Rnic(_) => target.strip_prefix(name.as_str()) == Some("/*"),
            Target::Link(_) | Target::Switch(_) => false,
        },
        Component::Group { .. } => false,
        Component::Rnic { host, device } => {
            // The analyzer says `host3/rnic0` where the fabric says `host3/0`.
            let number = device.as_str().trim_start_matches("rnic");
            let rnic = RnicName::new(host.clone(), number).to_string();
            match &fault.fault.target {
                Target::Host(_) => target == host.as_str(),
                Target::Rnic(_) => target == rnic,
                Target::Link(_) => fault.links().iter().any(|link| {
                    let (from, to) = topology.ends(*link);
                    [from, to]
                        .iter()
                        .any(|node| topology.node_name(*node) == rnic)
                }),
                Target::Switch(_) => false,
            }
        }
    }
}

/// Whether a fault is rightly called so.
fn is_category_of(fault: &Resolved, category: Category) -> bool {
    match category {
        // What comes and goes is that, whatever it is; and where several things may be meant nothing more is claimed.
        Category::Flapping | Category::Undecided => true,
        Category::HostDown | Category::AgentSilent => {
            matches!(fault.fault.target, Target::Host(_)) && has(fault, is_outage)
        }
        Category::CpuOverload => has(fault, |effect| matches!(effect, Effect::Stall(_))),
        Category::RnicDown | Category::LinkDown | Category::SwitchDown => has(fault, is_outage),
        Category::RnicLoss | Category::LinkLoss | Category::SwitchLoss => has(fault, |effect| {
            matches!(
                effect,
                Effect::Loss(_)
                    | Effect::Corrupt(_)
                    | Effect::Rate(_)
                    | Effect::Queue(_)
                    | Effect::Load(_)
                    | Effect::Pause(_)
                    | Effect::Flap(_)
            )
        }),
        Category::Blackhole => has(fault, |effect| matches!(effect, Effect::Blackhole(_))),
        Category::Congestion | Category::PauseStorm | Category::RnicSlow => has(fault, |effect| {
            matches!(
                effect,
                Effect::Delay(_)
                    | Effect::Jitter(_)
                    | Effect::Rate(_)
                    | Effect::Queue(_)
                    | Effect::Load(_)
                    | Effect::Pause(_)
            )
        }),
        Category::MissingRoute
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

fn has(fault: &Resolved, is: impl Fn(&Effect) -> bool) -> bool {
    fault.fault.effects.iter().any(is)
}

fn is_outage(effect: &Effect) -> bool {
    match effect {
        Effect::Down | Effect::Flap(_) | Effect::Restart => true,
        Effect::Loss(share) | Effect::Corrupt(share) => share.get() >= 0.9,
        Effect::Blackhole(_)
        | Effect::Delay(_)
        | Effect::Jitter(_)
        | Effect::Rate(_)
        | Effect::Queue(_)
        | Effect::Load(_)
        | Effect::Pause(_)
        | Effect::ClockStep(_)
        | Effect::Stall(_) => false,
    }
}

fn must_show(fault: &Resolved, ended: Duration) -> bool {
    let there = ended.saturating_sub(fault.fault.at);
    let long_enough = there.min(fault.fault.lasts.unwrap_or(there)) >= MUST_SHOW;
    let plain = fault.fault.effects.iter().any(|effect| match effect {
        Effect::Down => true,
        Effect::Loss(share) | Effect::Corrupt(share) => share.get() >= LEAST_LOSS,
        // Too mild, too rare, or seen only where services and paths are many.
        Effect::Blackhole(_)
        | Effect::Delay(_)
        | Effect::Jitter(_)
        | Effect::Rate(_)
        | Effect::Queue(_)
        | Effect::Load(_)
        | Effect::Pause(_)
        | Effect::Flap(_)
        | Effect::ClockStep(_)
        | Effect::Stall(_)
        | Effect::Restart => false,
    });
    long_enough && plain
}
