//! Incidents: findings that last, with a beginning, an end and an impact.
//!
//! The [`Tracker`] takes the findings of one run after the other and opens an incident when chance is ruled out, keeps it
//! up to date, and closes it when its finding has stayed away for a while:
//!
//! | finding | opens after |
//! |---|---|
//! | hard (a fifth of the probes or more, a dead link, a host down) | two runs in a row, with new losses in each |
//! | [`AT_ONCE_NATS`] of evidence or more | three runs in a row, with new losses in each |
//! | weaker | two sightings that share no probe: as far apart as the horizon is long |
//!
//! An incident has one subject; both directions of a cable are one. A finding that cannot tell belongs to the incident of any of its candidates; once a
//! candidate is certain the incident is about that one. RNICs of a host that is down are part of that host's incident.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::judge::{Category, Finding, Horizon, Judgement, Recent};
use super::localize::Component;
use crate::time::WallTime;

/// Evidence in one run that chance does not give.
pub const AT_ONCE_NATS: f64 = 9.0;
/// Open incidents of one [`Room`] at once; findings beyond wait, those of other rooms do not.
pub const MOST_OPEN: usize = 1_000;
/// An incident that opens this often within [`FLAPPING_WITHIN`] flaps.
pub const FLAPPING: usize = 3;
/// See [`FLAPPING`].
pub const FLAPPING_WITHIN: Duration = Duration::from_mins(10);
/// Subjects without an open incident that are remembered.
const MOST_WATCHED: usize = 10_000;
/// How long an incident goes on to be called what it was when it was plainest.
const PLAIN_FOR: Duration = Duration::from_mins(1);
/// Lines of evidence that are kept.
const MOST_EVIDENCE: usize = 40;
/// Why an incident about an RNIC is closed while its host is down.
const HOST_IS_DOWN: &str = "closed: its host is down";
/// A share that has changed by so many e-folds (a quarter) is worth saying,
const MOVED: f64 = 0.25;
/// but not more often than this.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// Impact (R-Pingmesh, section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Severity {
    /// A service's own paths are hit and their probes suffer.
    P0,
    /// A service's own paths are hit.
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

    fn of(services: &BTreeMap<String, bool>) -> Self {
        match services.values().max() {
            Some(true) => Self::P0,
            Some(false) => Self::P1,
            None => Self::P2,
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
    /// Probes on the paths that cross it, when it was last seen.
    pub sent: u64,
    /// Those of them that were lost or slow.
    pub lost: u64,
    /// Services with paths across it, and whether their own probes suffered.
    pub services: BTreeMap<String, bool>,
    /// Lines that explain it.
    pub evidence: Vec<String>,
    /// How often it was opened in the last ten minutes, this time included.
    pub openings: usize,
}

impl Incident {
    /// Whether it is open.
    pub const fn is_open(&self) -> bool {
        self.closed_unix_ns.is_none()
    }

    /// Whether it was closed because another incident explains it.
    pub fn is_explained(&self) -> bool {
        self.closed_unix_ns.is_some() && self.evidence.iter().any(|line| line == HOST_IS_DOWN)
    }

    /// Whether that other one is `cause`: the host that its RNIC is in was down.
    pub fn is_explained_by(&self, cause: &Self) -> bool {
        self.is_explained()
            && cause.category == Category::HostDown
            && cause
                .subject
                .node()
                .is_some_and(|host| is_part_of(&self.subject, &BTreeSet::from([&*host])))
    }

    /// What is wrong, in one line.
    pub fn title(&self) -> String {
        let mut name = match &self.subject {
            Component::Link { from, to } if self.both_directions => format!("cable {from}-{to}"),
            // The sentences below say what it is.
            subject @ (Component::Host { .. } | Component::Rnic { .. }) if self.or.is_empty() => {
                subject.node().unwrap_or_default().into_owned()
            }
            subject => subject.to_string(),
        };
        for other in &self.or {
            let _ = write!(name, " or {other}");
        }
        let percent = Percent(self.share);
        match self.category {
            Category::HostDown => format!("host {name} is down"),
            Category::AgentSilent => format!("the agent of host {name} is silent"),
            Category::RnicDown => format!("RNIC {name} is down"),
            Category::RnicLoss => format!("RNIC {name} loses {percent} of its probes"),
            Category::Flapping => format!("{name} comes and goes"),
            Category::LinkDown | Category::SwitchDown => format!("{name} is down"),
            Category::LinkLoss | Category::SwitchLoss | Category::Undecided => {
                format!("{name} loses {percent}")
            }
            Category::Blackhole => format!("{name} swallows {percent} of the 5-tuples"),
            Category::Congestion => format!("{percent} of the round trips over {name} are slow"),
            Category::PauseStorm => {
                format!(
                    "{percent} of the round trips over {name} are slow, longer than queues last: pauses"
                )
            }
            Category::RnicSlow => format!("RNIC {name} delays {percent} of its round trips"),
            Category::CpuOverload => format!("host {name} is starved of CPU"),
            Category::MissingRoute => format!("RNIC {name} cannot send"),
            Category::UnevenEcmp => {
                format!("ECMP at {name} is uneven: {percent} of the 5-tuples would have to move")
            }
        }
    }
}

struct Percent(f64);

impl std::fmt::Display for Percent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let percent = self.0 * 100.0;
        let digits = usize::from(percent < 9.95) + usize::from(percent < 0.995);
        write!(f, "{percent:.digits$} %")
    }
}

/// What became of an incident in one run.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// It is new.
    Opened(Incident),
    /// Its severity, category or subject is another.
    Updated(Incident),
    /// It is over.
    Closed(Incident),
}

impl Change {
    /// The incident as it is now.
    pub const fn incident(&self) -> &Incident {
        match self {
            Self::Opened(incident) | Self::Updated(incident) | Self::Closed(incident) => incident,
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
}

impl Room {
    /// Where an incident of a category belongs.
    pub const fn of(category: Category) -> Self {
        match category {
            Category::HostDown => Self::Hosts,
            network if network.is_network() => Self::Network,
            _ => Self::Agents,
        }
    }
}

/// What is remembered of a subject.
#[derive(Debug)]
struct Watch {
    subject: Component,
    /// The subject and what it may be instead.
    alike: BTreeSet<Component>,
    /// Of the runs in a row that have seen it, those that saw what the run before could not: the same losses confirm nothing
    /// twice.
    news: u32,
    /// The losses that the last one saw.
    recent: Option<Recent>,
    /// Sightings that share no probe.
    apart: VecDeque<WallTime>,
    last: WallTime,
    /// When it was last as plain as its incident says.
    plain: WallTime,
    horizon: Horizon,
    /// When somebody was last told of its share, and which.
    told: (WallTime, f64),
    incident: Option<Incident>,
    /// When incidents of it were opened.
    openings: VecDeque<WallTime>,
}

/// Turns findings into incidents. Pure: the time is passed in.
#[derive(Debug)]
pub struct Tracker {
    next: u64,
    watched: Vec<Watch>,
}

impl Tracker {
    /// Goes on with incidents that were open before; `next` is the first id that was never used.
    pub fn new(open: Vec<Incident>, next: u64, now: WallTime) -> Self {
        let watched = open
            .into_iter()
            .filter(Incident::is_open)
            .map(|incident| Watch {
                alike: std::iter::once(&incident.subject)
                    .chain(&incident.or)
                    .cloned()
                    .collect(),
                subject: incident.subject.clone(),
                news: 0,
                recent: None,
                apart: VecDeque::new(),
                // As if it had been seen just now: an analyzer that comes back first has to hear from the agents.
                last: now,
                plain: now,
                horizon: Horizon::Long,
                told: (now, incident.share),
                openings: VecDeque::from([WallTime::from_nanos(incident.opened_unix_ns)]),
                incident: Some(incident),
            })
            .collect();
        Self {
            next: next.max(1),
            watched,
        }
    }

    /// The open incidents, the worst and oldest first.
    pub fn open(&self) -> Vec<&Incident> {
        let mut open: Vec<_> = self
            .watched
            .iter()
            .filter_map(|watch| watch.incident.as_ref())
            .collect();
        open.sort_by_key(|incident| (incident.severity, incident.opened_unix_ns, incident.id));
        open
    }

    /// Takes one run's findings.
    pub fn step(&mut self, judgement: &Judgement, now: WallTime) -> Vec<Change> {
        let mut changes = Vec::new();
        let down: BTreeSet<&str> = judgement
            .findings
            .iter()
            .filter(|finding| finding.category == Category::HostDown)
            .filter_map(|finding| finding.subject.host())
            .collect();
        for finding in &judgement.findings {
            if is_part_of(&finding.subject, &down) {
                continue;
            }
            let at = self.watch_of(finding, now);
            let open = self.open_count(Room::of(finding.category));
            let watch = &mut self.watched[at];
            watch.see(finding, now);
            let confirmed = watch.is_confirmed(finding);
            if watch.incident.is_some() {
                changes.extend(watch.update(finding, now).map(Change::Updated));
            } else if confirmed && open < MOST_OPEN {
                let incident = watch.open(finding, self.next, now);
                self.next += 1;
                changes.push(Change::Opened(incident));
            }
        }
        self.close(&down, now, &mut changes);
        changes
    }

    fn open_count(&self, room: Room) -> usize {
        self.watched
            .iter()
            .filter_map(|watch| watch.incident.as_ref())
            .filter(|incident| Room::of(incident.category) == room)
            .count()
    }

    /// The place of what is remembered of a finding's subject, or of one that it may be.
    fn watch_of(&mut self, finding: &Finding, now: WallTime) -> usize {
        let same = self
            .watched
            .iter()
            .position(|watch| watch.subject == finding.subject);
        let alike = || {
            self.watched.iter().position(|watch| {
                watch.alike.contains(&finding.subject) || finding.or.contains(&watch.subject)
            })
        };
        // Both directions of a cable are one incident.
        let reverse = finding.subject.reverse();
        let other_direction = || {
            self.watched.iter().position(|watch| {
                watch.incident.is_some()
                    && finding.or.is_empty()
                    && reverse.as_ref() == Some(&watch.subject)
            })
        };
        if let Some(at) = same.or_else(other_direction).or_else(alike) {
            return at;
        }
        self.watched.push(Watch {
            subject: finding.subject.clone(),
            alike: BTreeSet::new(),
            news: 0,
            recent: None,
            apart: VecDeque::new(),
            last: now,
            plain: now,
            horizon: finding.horizon,
            told: (now, finding.share),
            incident: None,
            openings: VecDeque::new(),
        });
        self.watched.len() - 1
    }

    /// Closes what has stayed away, and forgets subjects that were never confirmed.
    fn close(&mut self, down: &BTreeSet<&str>, now: WallTime, changes: &mut Vec<Change>) {
        for watch in &mut self.watched {
            let part = is_part_of(&watch.subject, down);
            if watch.last < now {
                watch.news = 0;
            }
            let gone = part || now.since(watch.last) >= clear_after(watch.horizon);
            if let Some(mut incident) = watch.incident.take_if(|_| gone) {
                incident.closed_unix_ns = Some(now.nanos());
                if part {
                    incident.note(HOST_IS_DOWN.to_owned());
                }
                changes.push(Change::Closed(incident));
            }
        }
        let remembered =
            |watch: &Watch| watch.incident.is_some() || now.since(watch.last) < FLAPPING_WITHIN;
        self.watched.retain(remembered);
        if self.watched.len() > MOST_WATCHED {
            self.watched
                .sort_by_key(|watch| (watch.incident.is_none(), now.since(watch.last)));
            self.watched.truncate(MOST_WATCHED);
        }
    }
}

/// How much a category says: all of some packets rather than a share of all, lost rather than late or not sent.
const fn plainness(category: Category) -> u8 {
    match category {
        Category::Undecided | Category::CpuOverload => 0,
        Category::Congestion
        | Category::PauseStorm
        | Category::RnicSlow
        | Category::UnevenEcmp
        | Category::MissingRoute
        | Category::AgentSilent => 1,
        Category::LinkLoss | Category::SwitchLoss | Category::RnicLoss => 2,
        Category::LinkDown
        | Category::SwitchDown
        | Category::RnicDown
        | Category::HostDown
        | Category::Blackhole
        | Category::Flapping => 3,
    }
}

/// How long a finding must stay away before its incident is closed.
const fn clear_after(horizon: Horizon) -> Duration {
    match horizon {
        Horizon::Now | Horizon::Short => Duration::from_secs(15),
        Horizon::Middle => Duration::from_secs(30),
        Horizon::Long => Duration::from_mins(1),
    }
}

/// Whether it is an RNIC of one of these hosts.
fn is_part_of(subject: &Component, hosts: &BTreeSet<&str>) -> bool {
    match subject {
        Component::Rnic { host, .. } => hosts.contains(host.as_str()),
        Component::Link { .. } | Component::Switch { .. } | Component::Host { .. } => false,
    }
}

impl Watch {
    fn see(&mut self, finding: &Finding, now: WallTime) {
        let is_other_direction = finding.subject.reverse().as_ref() == Some(&self.subject);
        if finding.or.is_empty() && self.subject != finding.subject && !is_other_direction {
            self.subject = finding.subject.clone();
        }
        self.alike.clear();
        self.alike.insert(finding.subject.clone());
        self.alike.extend(finding.or.iter().cloned());
        // Two findings of one run may be the same incident's.
        if self.last < now || (self.news == 0 && self.recent.is_none()) {
            self.news = self.news.saturating_add(u32::from(self.is_news(finding)));
            self.recent = finding.recent;
        }
        self.last = now;
        // Longer horizons go on to hold what a short one has seen end.
        self.horizon = if finding.hard {
            self.horizon.min(finding.horizon)
        } else {
            finding.horizon
        };
        let length = length(finding.horizon);
        if self
            .apart
            .back()
            .is_none_or(|last| now.since(*last) >= length)
        {
            self.apart.push_back(now);
        }
        while self
            .apart
            .front()
            .is_some_and(|first| now.since(*first) > length * 3)
        {
            self.apart.pop_front();
        }
    }

    fn is_confirmed(&self, finding: &Finding) -> bool {
        let certain = finding.nats >= AT_ONCE_NATS;
        let needed = if finding.hard { 2 } else { 3 };
        (certain && self.news >= needed) || self.apart.len() >= 2
    }

    fn is_news(&self, finding: &Finding) -> bool {
        match (finding.recent, self.recent) {
            (Some(recent), Some(earlier)) => recent.is_news_to(earlier),
            _ => true,
        }
    }

    /// Takes a newer finding over; the incident, if somebody should be told.
    ///
    /// What was plain stays so for a while: a switch that swallows some 5-tuples or a link that is down also loses a share of
    /// the probes, and that is all that the first seconds of a window, or the last ones of a fault, show.
    fn update(&mut self, finding: &Finding, now: WallTime) -> Option<Incident> {
        let incident = self.incident.as_mut()?;
        let fades = plainness(finding.category) < plainness(incident.category)
            && now.since(self.plain) < PLAIN_FOR
            && (finding.subject == incident.subject
                || finding.subject.reverse().as_ref() == Some(&incident.subject));
        if fades {
            return incident.sight(finding, now).then(|| incident.clone());
        }
        self.plain = now;
        let changed = incident.update(finding, now);
        let moved = (incident.share / self.told.1.max(f64::MIN_POSITIVE))
            .ln()
            .abs()
            >= MOVED
            && now.since(self.told.0) >= TOLD_EVERY;
        if changed || moved {
            self.told = (now, incident.share);
        }
        (changed || moved).then(|| incident.clone())
    }

    fn open(&mut self, finding: &Finding, id: u64, now: WallTime) -> Incident {
        self.plain = now;
        self.told = (now, finding.share);
        while self
            .openings
            .front()
            .is_some_and(|first| now.since(*first) > FLAPPING_WITHIN)
        {
            self.openings.pop_front();
        }
        self.openings.push_back(now);
        let mut incident = Incident::new(finding, id, now);
        incident.openings = self.openings.len();
        if self.openings.len() >= FLAPPING {
            // A host that goes down again and again is not the network's.
            if finding.category.is_network() {
                incident.category = Category::Flapping;
            }
            incident.note(format!(
                "opened {} times within {} minutes",
                self.openings.len(),
                FLAPPING_WITHIN.as_secs() / 60
            ));
        }
        self.incident = Some(incident.clone());
        incident
    }
}

/// The share over the longest horizon that the incident has filled: short ones are noisy, longer ones hold what was before.
fn best_share(finding: &Finding, age: Duration) -> f64 {
    std::iter::once(&(finding.horizon, finding.share))
        .chain(&finding.shares)
        .filter(|(horizon, _)| length(*horizon) <= age)
        .max_by_key(|(horizon, _)| *horizon)
        .map_or(finding.share, |(_, share)| *share)
}

fn length(horizon: Horizon) -> Duration {
    match horizon {
        Horizon::Now | Horizon::Short => Duration::from_secs(10),
        Horizon::Middle => Duration::from_secs(25),
        Horizon::Long => Duration::from_secs(125),
    }
}

fn services(finding: &Finding) -> BTreeMap<String, bool> {
    finding
        .services
        .iter()
        .map(|(name, suffers)| (name.as_str().to_owned(), *suffers))
        .collect()
}

impl Incident {
    fn new(finding: &Finding, id: u64, now: WallTime) -> Self {
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

    fn note(&mut self, line: String) {
        if self.evidence.len() < MOST_EVIDENCE {
            self.evidence.push(line);
        }
    }

    /// It was seen again; whether its impact is worse than before.
    fn sight(&mut self, finding: &Finding, now: WallTime) -> bool {
        let before = self.severity;
        self.seen_unix_ns = now.nanos();
        for (service, suffers) in services(finding) {
            *self.services.entry(service).or_default() |= suffers;
        }
        self.severity = self.severity.min(Severity::of(&self.services));
        before != self.severity
    }

    /// Takes a newer finding over; whether somebody should be told.
    fn update(&mut self, finding: &Finding, now: WallTime) -> bool {
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

#[cfg(test)]
mod tests;
