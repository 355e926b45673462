//! What is remembered of one subject: when it is confirmed, and how long its incident stays what it was.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::{Change, Incident};
use crate::analysis::judge::{Category, Finding, Horizon, Recent};
use crate::analysis::localize::Component;
use crate::time::WallTime;

/// Evidence in one run that chance does not give.
pub(crate) const AT_ONCE_NATS: f64 = 9.0;
/// An incident that opens this often within [`FLAPPING_WITHIN`] flaps.
pub(crate) const FLAPPING: usize = 3;
/// See [`FLAPPING`].
pub(crate) const FLAPPING_WITHIN: Duration = Duration::from_mins(10);
/// How long an incident goes on to be called what it was when it was plainest.
const PLAIN_FOR: Duration = Duration::from_mins(1);
/// A component that was called down may lose only a part of its packets. After this time it is no longer called down. The windows of
/// [`Horizon::Short`] are no longer than this, so they have no loss of an outage that ended before.
const IN_PART_FOR: Duration = Duration::from_secs(10);
/// Share of lost packets below which something that was down has come back.
const BACK: f64 = 0.5;
/// A share that has changed by so many e-folds (a quarter) is worth saying,
const MOVED: f64 = 0.25;
/// but not more often than this.
const REPORTED_EVERY: Duration = Duration::from_secs(10);

/// What is remembered of a subject.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) subject: Component,
    /// The subject and what it may be instead.
    pub(super) alike: BTreeSet<Component>,
    /// Of the runs in a row that have seen it, those that saw what the run before could not: the same losses confirm nothing
    /// twice.
    pub(super) news: u32,
    /// The losses that the last one saw.
    recent: Option<Recent>,
    /// Sightings that share no probe.
    apart: VecDeque<WallTime>,
    pub(super) last: WallTime,
    /// When it was last as plain as its incident says.
    plain: WallTime,
    /// Whether the last run saw losses that the run before could not.
    has_news: bool,
    /// Since when it loses only a part, while its incident says that it is down.
    pub(super) in_part: Option<WallTime>,
    pub(super) horizon: Horizon,
    /// What was said of its incident last.
    reported: Reported,
    pub(super) incident: Option<Incident>,
    /// When incidents of it were opened.
    openings: VecDeque<WallTime>,
    outages: Outages,
}

/// The times at which a subject went down while its incident was open. One that passes most packets in between comes and goes.
#[derive(Debug, Default)]
struct Outages {
    began: VecDeque<WallTime>,
    is_down: bool,
}

impl Outages {
    /// Takes a finding; whether the subject has gone down so often now that it flaps.
    fn see(&mut self, finding: &Finding, now: WallTime) -> bool {
        let goes_down = matches!(
            finding.category,
            Category::LinkDown | Category::SwitchDown | Category::RnicDown
        );
        if goes_down && !self.is_down {
            self.began.push_back(now);
        }
        // A share near that of an outage is chance around it, and other categories say nothing of coming back.
        let is_back = finding.share < BACK
            && matches!(
                finding.category,
                Category::LinkLoss | Category::SwitchLoss | Category::RnicLoss
            );
        self.is_down = goes_down || (self.is_down && !is_back);
        while self
            .began
            .front()
            .is_some_and(|first| now.since(*first) > FLAPPING_WITHIN)
        {
            self.began.pop_front();
        }
        self.began.len() >= FLAPPING
    }
}

/// What was said of an incident, and when.
#[derive(Debug)]
struct Reported {
    at: WallTime,
    share: f64,
    title: String,
}

impl Reported {
    fn of(incident: &Incident, now: WallTime) -> Self {
        Self {
            at: now,
            share: incident.share,
            title: incident.title(),
        }
    }
}

/// How much a category says: all of some packets rather than a share of all, lost rather than late or not sent.
const fn plainness(category: Category) -> u8 {
    match category {
        Category::Undecided
        | Category::CpuOverload
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
        | Category::UnevenEcmp
        | Category::MissingRoute
        | Category::Withdrawn
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
pub(super) const fn clear_after(horizon: Horizon) -> Duration {
    match horizon {
        Horizon::Now | Horizon::Short => Duration::from_secs(15),
        Horizon::Middle => Duration::from_secs(30),
        Horizon::Long => Duration::from_mins(1),
    }
}

impl Watch {
    /// Of a subject that was not known before.
    pub(super) fn new(finding: &Finding, now: WallTime) -> Self {
        Self {
            subject: finding.subject.clone(),
            alike: BTreeSet::new(),
            news: 0,
            recent: None,
            apart: VecDeque::new(),
            last: now,
            plain: now,
            has_news: false,
            in_part: None,
            horizon: finding.horizon,
            reported: Reported {
                at: now,
                share: finding.share,
                title: String::new(),
            },
            incident: None,
            openings: VecDeque::new(),
            outages: Outages::default(),
        }
    }

    /// Of an incident that was open before the start.
    pub(super) fn restored(incident: Incident, now: WallTime) -> Self {
        Self {
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
            has_news: false,
            in_part: None,
            horizon: Horizon::Long,
            reported: Reported::of(&incident, now),
            openings: VecDeque::from([WallTime::from_nanos(incident.opened_unix_ns)]),
            outages: Outages::default(),
            incident: Some(incident),
        }
    }

    pub(super) fn see(&mut self, finding: &Finding, now: WallTime) {
        let is_other_direction = finding.subject.reverse().as_ref() == Some(&self.subject);
        if finding.or.is_empty() && self.subject != finding.subject && !is_other_direction {
            self.subject = finding.subject.clone();
        }
        self.alike.clear();
        self.alike.insert(finding.subject.clone());
        self.alike.extend(finding.or.iter().cloned());
        // Two findings of one run may be the same incident's.
        if self.last < now || (self.news == 0 && self.recent.is_none()) {
            self.has_news = self.is_news(finding);
            self.news = self.news.saturating_add(u32::from(self.has_news));
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

    pub(super) fn is_confirmed(&self, finding: &Finding) -> bool {
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

    /// Takes a newer finding over, and says what became of the incident.
    ///
    /// What was plain stays so for a while: a switch that swallows some 5-tuples or a link that is down also loses a share of
    /// the probes, and that is all that the first seconds of a window, or the last ones of a fault, show. A link
    /// that loses most packets may lose all of the first probes. It is called down then, and no longer if it loses only a part for
    /// [`IN_PART_FOR`].
    pub(super) fn update(&mut self, finding: &Finding, now: WallTime) -> Option<Change> {
        let in_part = self.loses_in_part(finding, now);
        let incident = self.incident.as_mut()?;
        if self.outages.see(finding, now) && incident.category != Category::Flapping {
            incident.update(finding, now);
            incident.category = Category::Flapping;
            self.plain = now;
            self.reported = Reported::of(incident, now);
            return Some(Change::Updated(incident.clone()));
        }
        let fades = !in_part
            && plainness(finding.category) < plainness(incident.category)
            && now.since(self.plain) < PLAIN_FOR
            && (finding.subject == incident.subject
                || finding.subject.reverse().as_ref() == Some(&incident.subject));
        if fades {
            let worse = incident.sight(finding, now);
            return worse.then(|| Change::Updated(incident.clone()));
        }
        self.plain = now;
        let changed = incident.update(finding, now);
        let is_due = now.since(self.reported.at) >= REPORTED_EVERY;
        let moved = (incident.share / self.reported.share.max(f64::MIN_POSITIVE))
            .ln()
            .abs()
            >= MOVED;
        let changed = changed || (moved && is_due);
        let refined = is_due && incident.title() != self.reported.title;
        if !changed && !refined {
            return None;
        }
        self.reported = Reported::of(incident, now);
        Some(if changed {
            Change::Updated(incident.clone())
        } else {
            Change::Refined(incident.clone())
        })
    }

    /// Whether what its incident says is down has lost only a part for [`IN_PART_FOR`].
    fn loses_in_part(&mut self, finding: &Finding, now: WallTime) -> bool {
        let was_down = self.incident.as_ref().is_some_and(|incident| {
            matches!(
                incident.category,
                Category::LinkDown | Category::SwitchDown | Category::RnicDown
            )
        });
        let loses = matches!(
            finding.category,
            Category::LinkLoss | Category::SwitchLoss | Category::RnicLoss
        );
        if !was_down || !loses || finding.horizon > Horizon::Short {
            self.in_part = None;
            return false;
        }
        // After an outage the losses of it are still seen, and no new ones come.
        self.has_news && now.since(*self.in_part.get_or_insert(now)) >= IN_PART_FOR
    }

    pub(super) fn open(&mut self, finding: &Finding, id: u64, now: WallTime) -> &mut Incident {
        self.plain = now;
        self.outages = Outages::default();
        self.outages.see(finding, now);
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
        self.reported = Reported::of(&incident, now);
        self.incident.insert(incident)
    }
}

pub(super) fn length(horizon: Horizon) -> Duration {
    match horizon {
        Horizon::Now | Horizon::Short => Duration::from_secs(10),
        Horizon::Middle => Duration::from_secs(25),
        Horizon::Long => Duration::from_secs(125),
    }
}
