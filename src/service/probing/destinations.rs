//! The destinations of connections: whose address is known, and who has to be asked for when.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::id::Gid;
use crate::service::flow::QpKey;
use crate::time::HostTime;
use crate::topology::Peer;

/// How long a destination that has just appeared waits for others to be asked for in the same call.
pub(crate) const LOOKUP_DELAY: Duration = Duration::from_millis(5);

/// How often a known destination is asked for again. A responder that has restarted is followed within this.
pub(crate) const REFRESH: Duration = Duration::from_secs(5);

/// Unknown destinations are asked for again after [`REFRESH`], then after twice as long, up to this.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// How long an answer is kept when no connection needs it any more.
pub(crate) const CACHE_LIFE: Duration = Duration::from_mins(1);

/// Destinations of one look-up: what the controller takes in one call.
pub(crate) const MAX_QUERIES: usize = 1024;

/// Answers that no connection needs are kept for so many destinations.
const MAX_IDLE: usize = 4096;

/// After a failed look-up; twice as long after each further one, up to [`REFRESH`].
const FIRST_RETRY: Duration = Duration::from_millis(200);

/// What is known of a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing<'a> {
    /// Nothing yet.
    Asked,
    /// Nobody has registered it.
    Unknown,
    /// Its responder.
    Known(&'a Arc<Peer>),
}

#[derive(Debug)]
enum Answer {
    None,
    /// How often it was not found in a row.
    NotFound(u32),
    Found(Arc<Peer>),
}

#[derive(Debug)]
struct Destination {
    answer: Answer,
    members: HashSet<QpKey>,
    /// When it is to be asked for; `None` while it is, or while nobody needs it.
    ask: Option<HostTime>,
    /// When the answer is from.
    answered: HostTime,
    /// Since when nobody needs it.
    idle: Option<HostTime>,
}

#[derive(Debug, Default)]
pub(super) struct Destinations {
    known: HashMap<Gid, Destination>,
    agenda: BTreeSet<(HostTime, Gid)>,
    idle: BTreeSet<(HostTime, Gid)>,
    hints: HashMap<Gid, Arc<Peer>>,
    is_asking: bool,
    failures: u32,
    retry: Option<HostTime>,
}

impl Destinations {
    pub(super) fn standing(&self, gid: Gid) -> Standing<'_> {
        match self.known.get(&gid).map(|destination| &destination.answer) {
            Some(Answer::Found(target)) => Standing::Known(target),
            Some(Answer::NotFound(_)) => Standing::Unknown,
            Some(Answer::None) | None => Standing::Asked,
        }
    }

    pub(super) fn members(&self, gid: Gid) -> Vec<QpKey> {
        listed(self.known.get(&gid).map(|destination| &destination.members))
    }

    /// A connection to `gid` has appeared.
    pub(super) fn join(&mut self, gid: Gid, key: &QpKey, now: HostTime) {
        let hint = self.hints.get(&gid);
        let destination = self.known.entry(gid).or_insert_with(|| Destination {
            answer: hint.map_or(Answer::None, |target| Answer::Found(Arc::clone(target))),
            members: HashSet::new(),
            ask: None,
            answered: now,
            idle: None,
        });
        if let Some(since) = destination.idle.take() {
            self.idle.remove(&(since, gid));
        }
        let is_first = destination.members.is_empty();
        destination.members.insert(key.clone());
        if is_first && destination.ask.is_none() {
            let at = match destination.answer {
                Answer::Found(_) => now.max(destination.answered.after(REFRESH)),
                // Its peer connects to it, so it should exist by now.
                Answer::None | Answer::NotFound(_) => now,
            };
            self.put_on_agenda(gid, at.after(LOOKUP_DELAY));
        }
    }

    /// A connection to `gid` has ended.
    pub(super) fn leave(&mut self, gid: Gid, key: &QpKey, now: HostTime) {
        let Some(destination) = self.known.get_mut(&gid) else {
            return;
        };
        destination.members.remove(key);
        if !destination.members.is_empty() {
            return;
        }
        if let Some(at) = destination.ask.take() {
            self.agenda.remove(&(at, gid));
        }
        destination.idle = Some(now);
        self.idle.insert((now, gid));
        self.drop_idle(now);
    }

    /// The answers of pinglists. Gives the destinations that they are news for.
    pub(super) fn set_hints(&mut self, hints: HashMap<Gid, Arc<Peer>>) -> Vec<Gid> {
        self.hints = hints;
        let mut news = Vec::new();
        for (gid, target) in &self.hints {
            if let Some(destination) = self.known.get_mut(gid) {
                let is_news =
                    !matches!(&destination.answer, Answer::Found(known) if known == target);
                if is_news {
                    destination.answer = Answer::Found(Arc::clone(target));
                    news.push(*gid);
                }
            }
        }
        news
    }

    pub(super) fn next(&self) -> Option<HostTime> {
        if self.is_asking {
            return None;
        }
        let (at, _) = self.agenda.first()?;
        Some(self.retry.map_or(*at, |retry| retry.max(*at)))
    }

    pub(super) fn due(&mut self, now: HostTime) -> Option<Vec<Gid>> {
        if self.next().is_none_or(|at| at > now) {
            return None;
        }
        let mut batch = Vec::new();
        while let Some((at, gid)) = self.agenda.first().copied() {
            if at > now || batch.len() >= MAX_QUERIES {
                break;
            }
            self.agenda.pop_first();
            if let Some(destination) = self.known.get_mut(&gid) {
                destination.ask = None;
                batch.push(gid);
            }
        }
        self.is_asking = !batch.is_empty();
        self.is_asking.then_some(batch)
    }

    /// Gives the destinations that the answer is news for.
    pub(super) fn answered(
        &mut self,
        asked: &[Gid],
        found: &HashMap<Gid, Arc<Peer>>,
        now: HostTime,
    ) -> Vec<Gid> {
        self.is_asking = false;
        self.failures = 0;
        self.retry = None;
        let mut news = Vec::new();
        for gid in asked {
            let Some(destination) = self.known.get_mut(gid) else {
                continue;
            };
            destination.answered = now;
            let (wait, answer, is_news) = match (found.get(gid), &destination.answer) {
                (Some(target), Answer::Found(known)) if known == target => (REFRESH, None, false),
                (Some(target), _) => (REFRESH, Some(Answer::Found(Arc::clone(target))), true),
                (None, Answer::NotFound(times)) => {
                    let wait = REFRESH.saturating_mul(1 << (*times).min(8));
                    let again = Answer::NotFound(times.saturating_add(1));
                    (wait.min(LONGEST_WAIT), Some(again), false)
                }
                (None, _) => (REFRESH, Some(Answer::NotFound(1)), true),
            };
            if let Some(answer) = answer {
                destination.answer = answer;
            }
            if !destination.members.is_empty() {
                self.put_on_agenda(*gid, now.after(wait));
            }
            if is_news {
                news.push(*gid);
            }
        }
        news
    }

    pub(super) fn failed(&mut self, asked: &[Gid], now: HostTime) {
        self.is_asking = false;
        let wait = FIRST_RETRY.saturating_mul(1 << self.failures.min(8));
        self.failures = self.failures.saturating_add(1);
        self.retry = Some(now.after(wait.min(REFRESH)));
        for gid in asked {
            let is_needed = self
                .known
                .get(gid)
                .is_some_and(|destination| !destination.members.is_empty());
            if is_needed {
                self.put_on_agenda(*gid, now);
            }
        }
    }

    /// Moves a destination to another time, if it is on the agenda.
    fn put_on_agenda(&mut self, gid: Gid, at: HostTime) {
        if let Some(destination) = self.known.get_mut(&gid) {
            if let Some(before) = destination.ask.replace(at) {
                self.agenda.remove(&(before, gid));
            }
            self.agenda.insert((at, gid));
        }
    }

    fn drop_idle(&mut self, now: HostTime) {
        while let Some((since, gid)) = self.idle.first().copied() {
            if now.since(since) < CACHE_LIFE && self.idle.len() <= MAX_IDLE {
                return;
            }
            self.idle.pop_first();
            self.known.remove(&gid);
        }
    }
}

/// The keys of a set, so that it can change meanwhile.
fn listed(keys: Option<&HashSet<QpKey>>) -> Vec<QpKey> {
    keys.map(|keys| keys.iter().cloned().collect())
        .unwrap_or_default()
}
