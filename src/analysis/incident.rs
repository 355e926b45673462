//! Incidents: findings that last, with a beginning, an end and an impact.
//!
//! The [`Tracker`] takes the findings of one run after the other and opens an incident when chance is ruled out, keeps it
//! up to date, and closes it when its finding has stayed away for a while:
//!
//! | finding | opens after |
//! |---|---|
//! | hard (a fifth of the probes or more, a dead link, a host down) | two runs in a row, with new losses in each |
//! | `AT_ONCE_NATS` of evidence or more | three runs in a row, with new losses in each |
//! | weaker | two sightings that share no probe: as far apart as the horizon is long |
//!
//! An incident has one subject; both directions of a cable are one. A finding that cannot tell belongs to the incident of any of its candidates; once a
//! candidate is certain the incident is about that one.
//!
//! Incidents form a tree of two levels: a cause, and under it what it [`explains`](Incident::explains). Many subjects with
//! the same trouble are one incident about a group (`group`). What another incident explains is closed
//! and names its [`cause`](Incident::cause): RNICs of a host that is down, links of a switch that is bad, single hosts of a group.

mod group;
mod title;
mod tracker;
mod update;
mod watch;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::judge::{Category, Finding};
use super::localize::Component;
use crate::time::WallTime;

pub use tracker::Tracker;

/// What an incident lists of what it explains; of more it tells the number.
pub const MOST_EXPLAINED: usize = 100;
/// Why older versions have closed an incident about an RNIC: its host was down.
const HOST_IS_DOWN: &str = "closed: its host is down";

/// Impact (R-Pingmesh, section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Severity {
    /// Services use the component, and their probes suffer.
    P0,
    /// Services use the component, or may use it and their probes suffer, or the monitoring cannot see what it should.
    P1,
    /// Only the monitoring of the cluster sees it.
    P2,
}

impl Severity {
    /// All, the worst first.
    pub const ALL: [Self; 3] = [Self::P0, Self::P1, Self::P2];

    /// Its name in labels and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::P0 => "P0",
            Self::P1 => "P1",
            Self::P2 => "P2",
        }
    }

    /// `perhaps` are the services of which only probes on other paths cross it.
    fn of(
        category: Category,
        services: &BTreeMap<String, bool>,
        perhaps: &BTreeMap<String, bool>,
    ) -> Self {
        let hit = match (services.values().max(), perhaps.values().max()) {
            (Some(true), _) => Self::P0,
            (Some(false), _) | (None, Some(true)) => Self::P1,
            (None, Some(false) | None) => Self::P2,
        };
        match category {
            Category::MonitoringBlind
            | Category::MonitoringSilence
            | Category::MonitoringLate
            | Category::MonitoringStore
            | Category::MonitoringFull => hit.min(Self::P1),
            // Services went away with it, or their own paths tell: what is missing carries none.
            Category::Withdrawn => hit.max(Self::P1),
            _ => hit,
        }
    }
}

/// Something that an incident stands for or explains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// What it is about.
    pub subject: Component,
    /// What is wrong with it.
    pub category: Category,
    /// In one line.
    pub title: String,
    /// The incident about it alone, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<u64>,
    /// When it was last seen, nanoseconds since 1970.
    pub seen_unix_ns: i64,
}

impl Explained {
    fn of(finding: &Finding, now: WallTime) -> Self {
        Self {
            subject: finding.subject.clone(),
            category: finding.category,
            title: Incident::new(finding, 0, now).title(),
            incident: None,
            seen_unix_ns: now.nanos(),
        }
    }
}

/// Something that is or was wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// From 1, never used again.
    pub id: u64,
    /// What it is about.
    pub subject: Component,
    /// A link of which the other direction is bad, too: the incident is about the cable.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub both_directions: bool,
    /// What it may be instead, where the observations cannot tell.
    #[serde(default)]
    pub or: Vec<Component>,
    /// Probes are under way that will tell which of them it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deciding: bool,
    /// What is wrong.
    pub category: Category,
    /// The worst impact so far.
    pub severity: Severity,
    /// When it was opened, nanoseconds since 1970.
    pub opened_unix_ns: i64,
    /// When it was last seen.
    pub seen_unix_ns: i64,
    /// When it was closed; `None` while it is open.
    pub closed_unix_ns: Option<i64>,
    /// How sure this is, 0 to 1.
    pub confidence: f64,
    /// Share of probes that it affects, 0 to 1: lost, dead 5-tuples, or slow.
    pub share: f64,
    /// 95 % confidence interval of the share, low and high; `None` if the share is not an estimated rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<[f64; 2]>,
    /// Probes on the paths that cross it, when it was last seen.
    pub sent: u64,
    /// Those of them that were lost or slow.
    pub lost: u64,
    /// Services with paths across it, and whether their own probes suffered.
    pub services: BTreeMap<String, bool>,
    /// Services whose probes cross it on other paths than their connections, or on unknown ones, and whether those probes
    /// suffered; none that is among `services`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub perhaps: BTreeMap<String, bool>,
    /// Lines that explain it.
    pub evidence: Vec<String>,
    /// How often it was opened in the last ten minutes, this time included.
    pub openings: usize,
    /// What it stands for or explains, at most [`MOST_EXPLAINED`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub explains: Vec<Explained>,
    /// Subjects that a group stands for now, and at most since it was opened; zeros where it is about one subject.
    #[serde(default)]
    pub subjects: Subjects,
    /// The incident that explains this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<u64>,
}

/// Subjects of a group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subjects {
    /// In the last run that saw any.
    pub now: u64,
    /// In the run that saw most.
    pub most: u64,
}

impl Incident {
    /// Whether it is open.
    pub(crate) const fn is_open(&self) -> bool {
        self.closed_unix_ns.is_none()
    }

    /// Everything that it may be about: its subject, what it may be instead, and of a group those that it stands for now, as far as
    /// they are listed.
    pub fn suspects(&self) -> impl Iterator<Item = &Component> {
        let is_group = matches!(self.subject, Component::Group { .. });
        let members = self
            .explains
            .iter()
            .filter(move |one| is_group && one.seen_unix_ns >= self.seen_unix_ns)
            .map(|one| &one.subject);
        std::iter::once(&self.subject)
            .chain(&self.or)
            .chain(members)
    }

    /// By what incidents are put in order, the one to look at first being the least: the worst severity, then those that
    /// make most services suffer, then those that hit most, then the oldest.
    pub fn rank(&self) -> impl Ord + use<> {
        let suffering = self.services.values().filter(|suffers| **suffers).count();
        (
            self.severity,
            Reverse((suffering, self.services.len())),
            self.opened_unix_ns,
            self.id,
        )
    }

    /// Whether it was closed because another incident explains it.
    pub fn is_explained(&self) -> bool {
        self.cause.is_some()
            || (self.closed_unix_ns.is_some()
                && self.evidence.iter().any(|line| line == HOST_IS_DOWN))
    }

    /// Whether that other one is `cause`.
    pub(crate) fn is_explained_by(&self, cause: &Self) -> bool {
        if let Some(id) = self.cause {
            return id == cause.id;
        }
        self.is_explained()
            && cause.category == Category::HostDown
            && cause
                .subject
                .node()
                .is_some_and(|host| is_part_of(&self.subject, &BTreeSet::from([&*host])))
    }
}

/// What became of an incident in one run.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// It is new.
    Opened(Incident),
    /// Its severity, category or subject is another, or its share has moved far.
    Updated(Incident),
    /// Its figures or what it explains are newer. The store keeps them; no alert is sent.
    Refined(Incident),
    /// It is over.
    Closed(Incident),
}

impl Change {
    /// The incident as it is now.
    pub const fn incident(&self) -> &Incident {
        match self {
            Self::Opened(incident)
            | Self::Updated(incident)
            | Self::Refined(incident)
            | Self::Closed(incident) => incident,
        }
    }
}

/// Incidents that have room of their own: thousands of silent agents must not keep a network fault from opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// The network is at fault, RNICs included.
    Network,
    /// Hosts are down.
    Hosts,
    /// What agents show of themselves.
    Agents,
    /// The monitoring itself.
    Monitoring,
}

impl Room {
    /// Where an incident of a category belongs.
    pub const fn of(category: Category) -> Self {
        match category {
            Category::HostDown => Self::Hosts,
            monitoring if monitoring.is_monitoring() => Self::Monitoring,
            network if network.is_network() => Self::Network,
            _ => Self::Agents,
        }
    }
}

/// Whether it is an RNIC of one of these hosts.
fn is_part_of(subject: &Component, hosts: &BTreeSet<&str>) -> bool {
    match subject {
        Component::Rnic { host, .. } => hosts.contains(host.as_str()),
        Component::Link { .. }
        | Component::Switch { .. }
        | Component::Host { .. }
        | Component::Group { .. } => false,
    }
}

#[cfg(test)]
mod tests;
