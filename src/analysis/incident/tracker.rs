//! Findings of one run after the other become incidents.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::group::{Cause, causes, group_of, is_grouped};
use super::watch::{FLAPPING_WITHIN, Watch, clear_after};
use super::{Change, Explained, Incident, Room, Severity, is_part_of};
use crate::analysis::judge::{Category, Counts, Finding, Judgement};
use crate::analysis::localize::Component;
use crate::time::WallTime;

/// Open incidents of one [`Room`] and severity at once. Findings beyond wait, and an incident says so; those of other rooms and
/// severities do not wait.
pub(crate) const MOST_OPEN: usize = 1_000;
/// Subjects without an open incident that are remembered.
const MOST_WATCHED: usize = 10_000;

/// How long after a host was last found down its RNICs are still parts of it: horizons hold what they lost then.
const AFTERMATH: Duration = Duration::from_secs(5);

/// Turns findings into incidents. Pure: the time is passed in.
#[derive(Debug)]
pub struct Tracker {
    next: u64,
    watched: Vec<Watch>,
    /// Hosts that were found down within [`AFTERMATH`], and when last.
    down: BTreeMap<String, WallTime>,
}

impl Tracker {
    /// Goes on with incidents that were open before; `next` is the first id that was never used.
    pub fn new(open: Vec<Incident>, next: u64, now: WallTime) -> Self {
        let open: Vec<_> = open.into_iter().filter(Incident::is_open).collect();
        let down = open
            .iter()
            .filter(|incident| incident.category == Category::HostDown)
            .filter_map(|incident| Some((incident.subject.host()?.to_owned(), now)))
            .collect();
        let watched = open
            .into_iter()
            .map(|incident| Watch::restored(incident, now))
            .collect();
        Self {
            next: next.max(1),
            watched,
            down,
        }
    }

    /// The open incidents by [`Incident::rank`].
    pub fn open(&self) -> Vec<&Incident> {
        let mut open: Vec<_> = self.incidents().collect();
        open.sort_by_cached_key(|incident| incident.rank());
        open
    }

    fn incidents(&self) -> impl Iterator<Item = &Incident> {
        self.watched
            .iter()
            .filter_map(|watch| watch.incident.as_ref())
    }

    /// Takes one run's findings.
    pub fn step(&mut self, judgement: &Judgement, now: WallTime) -> Vec<Change> {
        let mut changes = Vec::new();
        let down = self.down(&judgement.findings, now);
        let down: BTreeSet<&str> = down.iter().map(String::as_str).collect();
        let groups = self
            .incidents()
            .filter(|incident| incident.subject == group_of(incident.category))
            .map(|incident| incident.category)
            .collect();
        let (parts, causes): (Vec<_>, Vec<_>) = causes(&judgement.findings, &groups, now)
            .into_iter()
            .partition(|cause| is_part_of(&cause.finding.subject, &down));
        let mut waiting = 0;
        for cause in causes {
            let has_room = self.take(cause, now, &mut changes);
            waiting += u64::from(!has_room);
        }
        if waiting > 0 {
            self.take(full(waiting), now, &mut changes);
        }
        for part in parts {
            self.note_part(&part.finding, now);
        }
        self.close_explained(&down, now, &mut changes);
        self.close(now, &mut changes);
        changes
    }

    /// Hosts that are found down in this run, or were lately and have an open incident.
    fn down(&mut self, findings: &[Finding], now: WallTime) -> BTreeSet<String> {
        self.down.retain(|_, last| now.since(*last) < AFTERMATH);
        let group = group_of(Category::HostDown);
        let open: BTreeSet<&Component> = self
            .watched
            .iter()
            .filter_map(|watch| watch.incident.as_ref())
            .filter(|incident| incident.category == Category::HostDown)
            .map(|incident| &incident.subject)
            .collect();
        let has_incident = |host: &String| {
            open.contains(&group) || open.contains(&Component::Host { name: host.clone() })
        };
        let mut down: BTreeSet<_> = self
            .down
            .keys()
            .filter(|host| has_incident(host))
            .cloned()
            .collect();
        let found = findings
            .iter()
            .filter(|finding| finding.category == Category::HostDown)
            .filter_map(|finding| finding.subject.host());
        for host in found {
            self.down.insert(host.to_owned(), now);
            down.insert(host.to_owned());
        }
        down
    }

    /// Takes one finding; false when its incident would open and there is no room for it.
    fn take(&mut self, cause: Cause<'_>, now: WallTime, changes: &mut Vec<Change>) -> bool {
        let Cause {
            finding,
            explains,
            subjects,
        } = cause;
        let at = self.watch_of(&finding, now);
        let watch = &mut self.watched[at];
        watch.see(&finding, now);
        if let Some(incident) = &mut watch.incident {
            incident.explain(explains, subjects);
            changes.extend(watch.update(&finding, now));
            return true;
        }
        if !watch.is_confirmed(&finding) {
            return true;
        }
        let opens = Incident::new(&finding, 0, now);
        if self.open_count(Room::of(opens.category), opens.severity) >= MOST_OPEN {
            return false;
        }
        let incident = self.watched[at].open(&finding, self.next, now);
        self.next += 1;
        incident.explain(explains, subjects);
        changes.push(Change::Opened(incident.clone()));
        true
    }

    fn open_count(&self, room: Room, severity: Severity) -> usize {
        self.incidents()
            .filter(|incident| (Room::of(incident.category), incident.severity) == (room, severity))
            .count()
    }

    /// Lists a finding under the incident of the host that it is a part of.
    fn note_part(&mut self, finding: &Finding, now: WallTime) {
        let host = finding.subject.host();
        let cause = self
            .watched
            .iter_mut()
            .filter_map(|watch| watch.incident.as_mut())
            .find(|incident| {
                incident.category == Category::HostDown && incident.subject.host() == host
            });
        if let Some(cause) = cause {
            let subjects = cause.subjects.now;
            cause.explain(vec![Explained::of(finding, now)], subjects);
        }
    }

    /// Closes incidents that another open one explains.
    fn close_explained(&mut self, down: &BTreeSet<&str>, now: WallTime, changes: &mut Vec<Change>) {
        let causes: Vec<(u64, Category, Component, String)> = self
            .incidents()
            .filter(|incident| may_explain(incident))
            .map(|cause| {
                (
                    cause.id,
                    cause.category,
                    cause.subject.clone(),
                    cause.title(),
                )
            })
            .collect();
        let mut explained: BTreeMap<u64, Vec<Explained>> = BTreeMap::new();
        for watch in &mut self.watched {
            let is_seen = watch.last >= now;
            let Some(incident) = &watch.incident else {
                continue;
            };
            let cause = causes.iter().find(|(id, category, subject, _)| {
                *id != incident.id && explains((*category, subject), incident, is_seen, down)
            });
            let Some((id, _, _, title)) = cause else {
                continue;
            };
            let Some(mut incident) = watch.incident.take() else {
                continue;
            };
            incident.closed_unix_ns = Some(now.nanos());
            incident.deciding = false;
            incident.cause = Some(*id);
            incident.note(format!("closed: incident {id} explains it ({title})"));
            let one = incident.as_explained();
            explained.entry(*id).or_default().push(one);
            changes.push(Change::Closed(incident));
        }
        for incident in self
            .watched
            .iter_mut()
            .filter_map(|watch| watch.incident.as_mut())
        {
            if let Some(explains) = explained.remove(&incident.id) {
                let subjects = incident.subjects.now;
                incident.explain(explains, subjects);
                changes.push(Change::Refined(incident.clone()));
            }
        }
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
        // Both directions of a cable are one incident, also where this direction was watched before the other's was opened.
        let reverse = finding.subject.reverse();
        let other_direction = || {
            self.watched.iter().position(|watch| {
                watch.incident.is_some()
                    && finding.or.is_empty()
                    && reverse.as_ref() == Some(&watch.subject)
            })
        };
        let opened = same.filter(|at| self.watched[*at].incident.is_some());
        let found = opened.or_else(other_direction).or(same).or_else(alike);
        if let Some(at) = found {
            return at;
        }
        self.watched.push(Watch::new(finding, now));
        self.watched.len() - 1
    }

    /// Closes what has stayed away, and forgets subjects that were never confirmed.
    fn close(&mut self, now: WallTime, changes: &mut Vec<Change>) {
        for watch in &mut self.watched {
            if watch.last < now {
                watch.news = 0;
                watch.in_part = None;
            }
            let gone = now.since(watch.last) >= clear_after(watch.horizon);
            if let Some(mut incident) = watch.incident.take_if(|_| gone) {
                incident.closed_unix_ns = Some(now.nanos());
                incident.deciding = false;
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

/// Whether others may be consequences of an incident.
fn may_explain(incident: &Incident) -> bool {
    let is_switch = matches!(incident.subject, Component::Switch { .. });
    match incident.category {
        Category::SwitchDown | Category::SwitchLoss | Category::HostDown => true,
        Category::Blackhole => is_switch,
        // All RNICs of a host.
        Category::RnicDown | Category::RnicLoss
            if matches!(incident.subject, Component::Host { .. }) =>
        {
            true
        }
        category => incident.subject == group_of(category),
    }
}

/// Whether an incident is a consequence of a cause, or one of the group's. `is_seen`: the judge finds it in this run
/// beside the cause.
fn explains(
    (category, subject): (Category, &Component),
    incident: &Incident,
    is_seen: bool,
    down: &BTreeSet<&str>,
) -> bool {
    let is_group = *subject == group_of(category);
    if is_group && is_grouped(category) && incident.category == category {
        return true;
    }
    // Before most hosts were silent some were called down.
    if category == Category::MonitoringSilence {
        let was_called = matches!(
            incident.category,
            Category::HostDown | Category::AgentSilent
        );
        return was_called && !is_seen;
    }
    match subject {
        Component::Switch { .. } => !is_seen && subject.is_end_of(&incident.subject),
        // A host that is not down any more explains nothing.
        Component::Host { name }
            if (category == Category::HostDown && down.contains(name.as_str()))
                || (matches!(category, Category::RnicDown | Category::RnicLoss) && !is_seen) =>
        {
            is_part_of(&incident.subject, &BTreeSet::from([name.as_str()]))
        }
        Component::Group { .. } if category == Category::HostDown => {
            is_part_of(&incident.subject, down)
        }
        Component::Link { .. }
        | Component::Host { .. }
        | Component::Rnic { .. }
        | Component::Group { .. } => false,
    }
}

/// That findings wait because there is no room for their incidents.
fn full(waiting: u64) -> Cause<'static> {
    let finding = Finding {
        probes: Counts {
            sent: waiting,
            lost: waiting,
        },
        evidence: vec![format!(
            "{MOST_OPEN} incidents of one severity and kind are open; {waiting} findings that were confirmed wait for room"
        )],
        ..Finding::of_state(
            group_of(Category::MonitoringFull),
            Category::MonitoringFull,
            1.0,
        )
    };
    Cause {
        finding: Cow::Owned(finding),
        explains: Vec::new(),
        subjects: 0,
    }
}
