//! Whether the monitoring itself can see: findings of the categories `monitoring_…` and `clock`.
//!
//! [`add_to`] takes what the judge found and what the analyzer knows of itself, and adds what is wrong with the monitoring.
//! It also takes back what the monitoring cannot know: when many hosts fall silent within [`AT_ONCE`], the hosts are not
//! called down, because one cause that they share (the analyzer's machine, the management network, power) is likelier than
//! as many faults.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::judge::sight::LEAST_PROBES;
use super::judge::{Category, Counts, Finding, SilentHost, Snapshot};
use super::localize::Component;
use crate::id::HostName;
use crate::time::{Nanos, WallTime};

/// Share of the probes that are set aside from which on the fabric counts as not judged.
pub(crate) const BLIND: f64 = 0.5;
/// Hosts that fall silent within this time of each other did so at once.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(15);
/// Hosts, and share of all hosts, from which on silence at once is not theirs.
pub(crate) const MANY: (usize, f64) = (4, 0.15);
/// The pause after a run of the judge is so many times as long as the run.
pub(crate) const PAUSE: u32 = 2;
/// A run of the judge that takes longer is late: the pause after it is [`PAUSE`] times as long.
pub(crate) const LATE: Duration = Duration::from_secs(2);
/// How long a rise of a counter is reported.
const REPORTED: Duration = Duration::from_mins(1);
/// Names in one line of evidence.
const MOST_NAMED: usize = 8;

/// A clock that is off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WrongClock {
    /// The agent's host.
    pub host: HostName,
    /// By how much it is ahead; negative when it is behind.
    pub ahead: Nanos,
    /// Whether its results are moved by this and judged.
    pub corrected: bool,
}

/// What the analyzer knows of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Health {
    /// Hosts whose agents were heard of in the last ten minutes.
    pub hosts: usize,
    /// Clocks that are off.
    pub clocks: Vec<WrongClock>,
    /// RNICs or hosts that the topology file names.
    pub expected: usize,
    /// Those of them that report nothing, by name.
    pub missing: Vec<String>,
    /// Paths that left the windows in the last minute because of a bound.
    pub evicted: u64,
    /// Traced paths, hosts and RNICs that found no place in the last minute because of a bound.
    pub unlisted: u64,
    /// Why fewer paths are kept than the agents probe; `None` where there is room.
    pub shortfall: Option<String>,
    /// Writes that the store refused in the last minute.
    pub refused: u64,
    /// What was damaged in the store lately and set aside.
    pub damaged: Vec<String>,
    /// How long the last run of the judge took.
    pub run: Duration,
}

/// How much a counter has risen in the last minute.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rise(VecDeque<(WallTime, u64)>);

impl Rise {
    /// Takes the counter's value at `now`.
    pub(crate) fn take(&mut self, total: u64, now: WallTime) -> u64 {
        self.0.push_back((now, total));
        // The newest value that is older than the minute is what the others are compared with.
        while self
            .0
            .get(1)
            .is_some_and(|(at, _)| now.since(*at) >= REPORTED)
        {
            self.0.pop_front();
        }
        self.0
            .front()
            .map_or(0, |(_, before)| total.saturating_sub(*before))
    }
}

/// Adds what is wrong with the monitoring to the findings of a run, and takes back what it cannot know.
pub(crate) fn add_to(findings: &mut Vec<Finding>, snapshot: &Snapshot, health: &Health) {
    let silence = silence(findings, snapshot, health);
    findings.extend(silence);
    findings.extend(blind(snapshot));
    findings.extend(health.clocks.iter().map(of_clock));
    findings.extend(of_analyzer(health));
}

fn monitoring(category: Category, part: u64, whole: u64, evidence: Vec<String>) -> Finding {
    let probes = Counts {
        sent: whole,
        lost: part,
    };
    let subject = Component::Group {
        name: category.name().to_owned(),
    };
    Finding {
        probes,
        evidence,
        ..Finding::of_state(subject, category, probes.share())
    }
}

/// Hosts that are silent and have not said that they stop.
fn unannounced(snapshot: &Snapshot) -> impl Iterator<Item = &SilentHost> {
    snapshot.silent.iter().filter(|silent| !silent.is_announced)
}

/// Hosts that fell silent at once, as one finding instead of one each.
fn silence(findings: &mut Vec<Finding>, snapshot: &Snapshot, health: &Health) -> Option<Finding> {
    let mut since: Vec<Duration> = unannounced(snapshot).map(|silent| silent.since).collect();
    since.sort_unstable();
    let middle = *since.get(since.len() / 2)?;
    let at_once: Vec<_> = unannounced(snapshot)
        .filter(|silent| silent.since.abs_diff(middle) <= AT_ONCE)
        .collect();
    let down = at_once.iter().filter(|silent| silent.is_down()).count();
    if down < MANY.0 || (down as f64) < health.hosts as f64 * MANY.1 {
        return None;
    }
    let names: BTreeSet<&str> = at_once.iter().map(|silent| silent.host.as_str()).collect();
    findings.retain(|finding| {
        !matches!(finding.category, Category::HostDown | Category::AgentSilent)
            || !finding
                .subject
                .host()
                .is_some_and(|host| names.contains(host))
    });
    let evidence = vec![
        format!(
            "{} hosts uploaded nothing for about {:.1} s; {down} of them answer no probe either",
            at_once.len(),
            middle.as_secs_f64()
        ),
        format!("they are {}", listed(names.iter().copied(), names.len())),
        "so many hosts do not fail at the same time: look at the CPU of the analyzer's machine, at the management network \
         and at power first"
            .to_owned(),
        "not known: whether these hosts and what is between them work".to_owned(),
    ];
    Some(Finding {
        hard: true,
        ..monitoring(
            Category::MonitoringSilence,
            at_once.len() as u64,
            health.hosts.max(at_once.len()) as u64,
            evidence,
        )
    })
}

/// The fabric where most probes are set aside, or the ToRs where nearly all are.
fn blind(snapshot: &Snapshot) -> Vec<Finding> {
    let aside = snapshot.disturbed();
    let all = aside.saturating_add(snapshot.judged.sent);
    if all >= LEAST_PROBES && aside as f64 >= BLIND * all as f64 {
        let mut evidence = vec![format!(
            "{aside} of {all} probes of the last 20 s are set aside: no fault of the network would be seen in them"
        )];
        evidence.extend(reasons(snapshot));
        return vec![monitoring(Category::MonitoringBlind, aside, all, evidence)];
    }
    let of_tor = |(tor, counts): &(crate::id::TorId, Counts)| Finding {
        probes: *counts,
        evidence: std::iter::once(format!(
            "{} of {} probes of the last 20 s from and to RNICs under it are set aside",
            counts.lost, counts.sent
        ))
        .chain(reasons(snapshot))
        .collect(),
        ..Finding::of_state(
            Component::Switch {
                name: tor.to_string(),
            },
            Category::MonitoringBlind,
            counts.share(),
        )
    };
    snapshot.blind.iter().map(of_tor).collect()
}

/// Why probes of the whole fabric are set aside.
fn reasons(snapshot: &Snapshot) -> Option<String> {
    let reasons: Vec<_> = snapshot
        .set_aside
        .iter()
        .filter(|(reason, counts)| reason.hides_loss() && counts.sent > 0)
        .map(|(reason, counts)| format!("{} {}", counts.sent, reason.name().replace('_', " ")))
        .collect();
    (!reasons.is_empty()).then(|| format!("probes set aside in the fabric: {}", reasons.join(", ")))
}

fn of_clock(clock: &WrongClock) -> Finding {
    let seconds = clock.ahead.0 as f64 / 1e9;
    let direction = if seconds < 0.0 { "behind" } else { "ahead" };
    let seconds = seconds.abs();
    let mut evidence = vec![format!(
        "its batches end {seconds:.1} s {} than they arrive: its clock is {seconds:.1} s {direction}",
        if direction == "ahead" {
            "later"
        } else {
            "earlier"
        }
    )];
    if direction == "behind" {
        evidence.push("or its uploads are late by the same time all along".to_owned());
    }
    evidence.push(if clock.corrected {
        "its results are moved by this and judged; their times may be wrong by a second".to_owned()
    } else {
        "its results are not judged: the clock is too far off to correct them".to_owned()
    });
    let subject = Component::Host {
        name: clock.host.as_str().to_owned(),
    };
    Finding {
        evidence,
        ..Finding::of_state(subject, Category::Clock, 1.0)
    }
}

/// What found no place, and which bound it was.
fn dropped_lines(health: &Health) -> Vec<String> {
    let evicted = (health.evicted > 0).then(|| {
        format!(
            "{} paths left the windows in the last minute because of `max_paths` or the memory bound, before they were over",
            health.evicted
        )
    });
    let unlisted = (health.unlisted > 0).then(|| {
        format!(
            "traced paths, hosts or RNICs found no place {} times in the last minute: their tables are full",
            health.unlisted
        )
    });
    let why = health.shortfall.clone().filter(|_| health.evicted > 0);
    evicted.into_iter().chain(why).chain(unlisted).collect()
}

/// Judge, windows, store, and what the file names and nobody reports.
fn of_analyzer(health: &Health) -> Vec<Finding> {
    let mut findings = Vec::new();
    if health.run >= LATE {
        let seconds = health.run.as_secs_f64();
        findings.push(monitoring(
            Category::MonitoringLate,
            1,
            1,
            vec![format!(
                "the last run of the judge took {seconds:.1} s, the pause after it is {:.1} s: a fault is seen so much later",
                seconds * f64::from(PAUSE)
            )],
        ));
    }
    let dropped = health.evicted.saturating_add(health.unlisted);
    if dropped > 0 {
        findings.push(monitoring(
            Category::MonitoringEvicted,
            dropped,
            dropped,
            dropped_lines(health),
        ));
    }
    findings.extend(of_store(health));
    if !health.missing.is_empty() {
        let names = health.missing.iter().map(String::as_str);
        findings.push(monitoring(
            Category::MonitoringMissing,
            health.missing.len() as u64,
            health.expected as u64,
            vec![format!(
                "nothing was reported in the last ten minutes from {}",
                listed(names, health.missing.len())
            )],
        ));
    }
    findings
}

/// What the store refuses, and what it has lost.
fn of_store(health: &Health) -> Option<Finding> {
    let mut evidence = Vec::new();
    if health.refused > 0 {
        evidence.push(format!(
            "{} writes failed in the last minute; the log says why",
            health.refused
        ));
        evidence
            .push("agents keep what is not acknowledged until their spools are full".to_owned());
    }
    evidence.extend(health.damaged.iter().take(MOST_NAMED).cloned());
    if let Some(more) = health
        .damaged
        .len()
        .checked_sub(MOST_NAMED)
        .filter(|more| *more > 0)
    {
        evidence.push(format!(
            "and {more} more damaged files or rows; the log names them"
        ));
    }
    let count = health.refused + health.damaged.len() as u64;
    (count > 0).then(|| monitoring(Category::MonitoringStore, count, count, evidence))
}

/// The first names and how many more there are.
fn listed<'a>(names: impl Iterator<Item = &'a str>, count: usize) -> String {
    let first: Vec<_> = names.take(MOST_NAMED).collect();
    match count.saturating_sub(first.len()) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

#[cfg(test)]
mod tests;
