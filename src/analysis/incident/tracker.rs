//! Findings of one run after the other become incidents.

use std::collections::BTreeSet;

use super::watch::{FLAPPING_WITHIN, Watch, clear_after};
use super::{Change, HOST_IS_DOWN, Incident, Room, is_part_of};
use crate::analysis::judge::{Category, Finding, Judgement};
use crate::time::WallTime;

/// Open incidents of one [`Room`] at once; findings beyond wait, those of other rooms do not.
pub const MOST_OPEN: usize = 1_000;
/// Subjects without an open incident that are remembered.
const MOST_WATCHED: usize = 10_000;

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
            .map(|incident| Watch::restored(incident, now))
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
        self.watched.push(Watch::new(finding, now));
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
