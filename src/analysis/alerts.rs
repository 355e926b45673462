//! Which alerts one receiver has to get, and when. Logic only: the time is passed in, nothing is sent here.
//!
//! An [`Outbox`] knows each incident's newest state and the last state that the receiver has acknowledged; what differs is
//! due. So nothing is lost while a receiver is down, and nothing floods it when it comes back: it gets the present state
//! of each incident once. This includes an incident that opened and closed meanwhile.
//!
//! | what happens | what follows |
//! |---|---|
//! | an incident opens, changes, closes | it is due at once |
//! | a receiver expires alerts ([`Config::refresh`]) | alerts of open incidents are due again at that interval |
//! | the receiver does not answer | nothing is sent for a while; the wait grows each time ([`Config::first_wait`]) |
//! | the receiver refuses a batch | its alerts are sent one by one; one that is refused alone waits, the others go on |

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::incident::{Incident, Severity};
use super::judge::Category;
use super::localize::Component;
use crate::time::HostTime;

/// How an outbox behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Config {
    /// How often alerts of open incidents are sent again; `None` for a receiver that keeps them itself.
    pub refresh: Option<Duration>,
    /// Incidents in one batch.
    pub batch: usize,
    /// Incidents that are kept; beyond, closed ones go, the oldest first, and are counted.
    pub most: usize,
    /// The wait after a first failure; it doubles with each.
    pub first_wait: Duration,
    /// The longest wait.
    pub longest_wait: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            refresh: None,
            batch: 64,
            most: 10_000,
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_mins(1),
        }
    }
}

/// The state of an incident as it was delivered to a receiver. A change of any field is worth an alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryState {
    /// What it was about.
    pub subject: Component,
    /// What was wrong.
    pub category: Category,
    /// How bad it was.
    pub severity: Severity,
    /// Whether it was over.
    pub closed: bool,
}

impl DeliveryState {
    /// Whether both name the same subject, category and severity.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        (&self.subject, self.category, self.severity)
            == (&other.subject, other.category, other.severity)
    }
}

impl From<&Incident> for DeliveryState {
    fn from(incident: &Incident) -> Self {
        Self {
            subject: incident.subject.clone(),
            category: incident.category,
            severity: incident.severity,
            closed: !incident.is_open(),
        }
    }
}

/// Why an alert is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Event {
    /// The receiver does not know it yet.
    Opened,
    /// Its subject, category or severity is another than the receiver knows.
    Updated,
    /// Nothing is new: the receiver would forget it.
    Refreshed,
    /// It is over.
    Closed,
}

impl Event {
    /// As messages name it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Updated => "updated",
            Self::Refreshed => "refreshed",
            Self::Closed => "closed",
        }
    }
}

/// One incident of a batch.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Item {
    /// As it is now.
    pub incident: Incident,
    /// Why.
    pub event: Event,
    /// What is no longer so: the state before, or that of an incident which is over. `None` if another open incident says
    /// the same.
    pub over: Option<DeliveryState>,
}

/// What to do now.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Next {
    /// Send these, the oldest incident first, and say what came of it.
    Send(Vec<Item>),
    /// Nothing before this time, unless an incident changes.
    Wait(HostTime),
    /// Nothing until an incident changes.
    Idle,
}

/// How the receiver has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It has taken everything.
    Taken,
    /// It does not answer, or not now.
    Unreachable,
    /// It says that the batch is wrong.
    Refused,
}

#[derive(Debug)]
struct Entry {
    incident: Incident,
    delivered: Option<DeliveryState>,
    /// When; `None` if that was before the start.
    delivered_at: Option<HostTime>,
    /// It was in a batch that was refused.
    suspect: bool,
    /// How often it was refused alone.
    refusals: u32,
    /// Not before.
    not_before: Option<HostTime>,
}

/// The alerts that one receiver still has to get. See the module.
#[derive(Debug)]
pub(crate) struct Outbox {
    config: Config,
    entries: BTreeMap<u64, Entry>,
    failures: u32,
    not_before: Option<HostTime>,
    dropped: u64,
}

impl Outbox {
    /// With incidents from before the start and what the receiver knew of each.
    pub(crate) fn new(config: Config, known: Vec<(Incident, Option<DeliveryState>)>) -> Self {
        let mut outbox = Self {
            config,
            entries: BTreeMap::new(),
            failures: 0,
            not_before: None,
            dropped: 0,
        };
        for (incident, delivered) in known {
            outbox.learn(&incident);
            if let Some(entry) = outbox.entries.get_mut(&incident.id) {
                entry.delivered = delivered;
            }
        }
        outbox
    }

    /// Takes an incident as it is now.
    pub(crate) fn learn(&mut self, incident: &Incident) {
        let entry = self.entries.entry(incident.id).or_insert_with(|| Entry {
            incident: incident.clone(),
            delivered: None,
            delivered_at: None,
            suspect: false,
            refusals: 0,
            not_before: None,
        });
        if !entry.incident.is_open() && incident.is_open() {
            // Numbers are never used again, so this is older than what is known.
            return;
        }
        entry.incident = incident.clone();
        while self.entries.len() > self.config.most {
            let closed = |(id, entry): (&u64, &Entry)| (!entry.incident.is_open()).then_some(*id);
            let oldest = self.entries.iter().find_map(closed);
            let Some(oldest) = oldest.or_else(|| self.entries.keys().next().copied()) else {
                break;
            };
            self.entries.remove(&oldest);
            self.dropped += 1;
        }
    }

    /// What to do at `now`.
    pub(crate) fn next(&self, now: HostTime) -> Next {
        if let Some(at) = self.not_before.filter(|at| now < *at) {
            return match self.earliest(now) {
                Some(due) => Next::Wait(due.max(at)),
                None => Next::Idle,
            };
        }
        let due = |entry: &&Entry| self.due(entry, now).is_some_and(|at| at <= now);
        let batch: Vec<_> = self
            .entries
            .values()
            .filter(|entry| !entry.suspect)
            .filter(due)
            .take(self.config.batch)
            .map(|entry| self.item(entry))
            .collect();
        if !batch.is_empty() {
            return Next::Send(batch);
        }
        if let Some(suspect) = self.entries.values().find(due) {
            return Next::Send(vec![self.item(suspect)]);
        }
        self.earliest(now).map_or(Next::Idle, Next::Wait)
    }

    fn earliest(&self, now: HostTime) -> Option<HostTime> {
        let due = self.entries.values();
        due.filter_map(|entry| self.due(entry, now)).min()
    }

    /// When the alert of an incident is due, whatever the receiver's state.
    fn due(&self, entry: &Entry, now: HostTime) -> Option<HostTime> {
        let at = if entry.delivered.as_ref() != Some(&DeliveryState::from(&entry.incident)) {
            now
        } else if entry.incident.is_open() {
            let refresh = self.config.refresh?;
            entry
                .delivered_at
                .map_or(now, |delivered| delivered.after(refresh))
        } else {
            return None;
        };
        Some(entry.not_before.map_or(at, |not_before| at.max(not_before)))
    }

    /// Takes what came of a batch of [`Next::Send`]; gives what the receiver now knows of which incident, where that is
    /// new. `jitter`, 0 to 1, spreads the attempts of several senders.
    pub(crate) fn settle(
        &mut self,
        batch: &[Item],
        outcome: Outcome,
        now: HostTime,
        jitter: f64,
    ) -> Vec<(u64, DeliveryState)> {
        match outcome {
            Outcome::Taken => {
                self.failures = 0;
                self.not_before = None;
                return self.taken(batch, now);
            }
            Outcome::Unreachable => {
                self.failures = self.failures.saturating_add(1);
                self.not_before = Some(now.after(self.wait(self.failures, jitter)));
            }
            Outcome::Refused => {
                // It answers.
                self.failures = 0;
                self.not_before = None;
                let alone = batch.len() == 1;
                for item in batch {
                    let refusals = match self.entries.get_mut(&item.incident.id) {
                        Some(entry) => {
                            entry.suspect = true;
                            entry.refusals += u32::from(alone);
                            entry.refusals
                        }
                        None => continue,
                    };
                    if alone {
                        let until = now.after(self.wait(refusals, jitter));
                        if let Some(entry) = self.entries.get_mut(&item.incident.id) {
                            entry.not_before = Some(until);
                        }
                    }
                }
            }
        }
        Vec::new()
    }

    fn taken(&mut self, batch: &[Item], now: HostTime) -> Vec<(u64, DeliveryState)> {
        let mut known = Vec::new();
        for item in batch {
            let id = item.incident.id;
            let Some(entry) = self.entries.get_mut(&id) else {
                continue;
            };
            let delivered = DeliveryState::from(&item.incident);
            if entry.delivered.as_ref() != Some(&delivered) {
                known.push((id, delivered.clone()));
            }
            entry.delivered_at = Some(now);
            entry.suspect = false;
            entry.refusals = 0;
            entry.not_before = None;
            if delivered.closed {
                self.entries.remove(&id);
            } else {
                entry.delivered = Some(delivered);
            }
        }
        known
    }

    fn wait(&self, failures: u32, jitter: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(16);
        let ceiling = (self.config.first_wait * 2_u32.pow(doublings)).min(self.config.longest_wait);
        ceiling.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
    }

    /// Incidents whose newest state the receiver has not acknowledged.
    pub(crate) fn waiting(&self) -> usize {
        let news = |entry: &&Entry| {
            entry.delivered.as_ref() != Some(&DeliveryState::from(&entry.incident))
        };
        self.entries.values().filter(news).count()
    }

    fn item(&self, entry: &Entry) -> Item {
        let now = DeliveryState::from(&entry.incident);
        let event = match &entry.delivered {
            _ if now.closed => Event::Closed,
            None => Event::Opened,
            Some(before) if *before == now => Event::Refreshed,
            Some(_) => Event::Updated,
        };
        let over = match event {
            Event::Opened | Event::Refreshed => None,
            Event::Updated => entry.delivered.clone(),
            Event::Closed => Some(entry.delivered.clone().unwrap_or(now)),
        };
        Item {
            incident: entry.incident.clone(),
            event,
            over: over.filter(|delivered| !self.is_open(delivered)),
        }
    }

    fn is_open(&self, delivered: &DeliveryState) -> bool {
        self.entries.values().any(|entry| {
            let now = DeliveryState::from(&entry.incident);
            !now.closed && now.says_the_same(delivered)
        })
    }

    /// Incidents that were dropped since the start because too many waited.
    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests;
