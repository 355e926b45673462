//! Bounds what a responder does for one source, for unknown sources, and in all.
//!
//! Anyone who can send IP packets can write any source address into a probe. Its ACKs go to that address. Two things must
//! not follow: a peer whose address is forged must not lose its own probes, and the responder must not become an amplifier.
//!
//! A prober has a random session number of 64 bits, which only the two ends of its packets see. A *known session* is a
//! source GID with a session number of which [`KNOWN_AFTER`] probes were answered. It has a meter of its own, which forged
//! packets with other session numbers do not use up. All other sessions are *new*: those of one source share one meter, and
//! all together share one more. So a flood of new sessions draws a bounded number of ACKs, whatever addresses it claims.
//!
//! A source has at most [`SESSIONS_PER_SOURCE`] known sessions, and there are at most [`MOST_SESSIONS`]; one that is silent
//! for [`KEEP`] is forgotten. Packets that are signed with the cluster key are bounded alike.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use crate::id::Gid;
use crate::time::HostTime;
use crate::wire::SessionId;

use super::limit::{Limit, Meter};
use super::{Counters, ResponderConfig};

/// Answered probes that make a session known: a tenth of a second at a prober's cap.
const KNOWN_AFTER: u32 = 16;
/// Known sessions of one source: an agent, the one before its restart, a `ping` and one more.
const SESSIONS_PER_SOURCE: usize = 4;
/// Known sessions in all, about 100 bytes each.
const MOST_SESSIONS: usize = 8192;
/// How long a silent session stays known. The slowest pinglist probes a path every ten seconds.
const KEEP: Duration = Duration::from_mins(1);
/// How often silent sessions are looked for.
const SWEEP: Duration = Duration::from_secs(1);
/// Meters of new sessions; sources share them by a seeded hash.
const BUCKETS: usize = 1024;

/// A known session, or a new one on its way to become known.
struct Session {
    id: SessionId,
    meter: Meter,
    /// Probes that were answered, up to [`KNOWN_AFTER`].
    answered: u32,
    seen: HostTime,
}

impl Session {
    const fn is_known(&self) -> bool {
        self.answered >= KNOWN_AFTER
    }
}

/// See the module.
pub(super) struct Sources {
    seed: u64,
    per_session: Limit,
    per_new_source: Limit,
    all_new: Limit,
    all: Limit,
    /// At most [`SESSIONS_PER_SOURCE`] of each source.
    sessions: HashMap<Gid, Vec<Session>>,
    /// How many there are in all.
    remembered: usize,
    buckets: Vec<Meter>,
    new: Meter,
    total: Meter,
    swept: HostTime,
}

impl Sources {
    pub(super) fn new(config: &ResponderConfig, seed: u64) -> Self {
        let burst = config.burst_per_source;
        Self {
            seed,
            per_session: Limit::new(config.rate_per_source, burst),
            per_new_source: Limit::new(config.rate_of_new_source, burst),
            all_new: Limit::new(config.rate_of_new, config.burst_of_new),
            all: Limit::new(config.rate, config.burst),
            sessions: HashMap::new(),
            remembered: 0,
            buckets: vec![Meter::FRESH; BUCKETS],
            new: Meter::FRESH,
            total: Meter::FRESH,
            swept: HostTime::from_nanos(i64::MIN),
        }
    }

    /// Whether a probe of this session may be answered now; counts the reason if not.
    pub(super) fn admit(
        &mut self,
        source: Gid,
        session: SessionId,
        now: HostTime,
        counters: &mut Counters,
    ) -> bool {
        self.sweep(now);
        let mut own = self.sessions.get_mut(&source).into_iter().flatten();
        match own.find(|known| known.id == session) {
            Some(known) if known.is_known() => {
                known.seen = now;
                if now < known.meter.ready_at(self.per_session) {
                    counters.probes_refused_rate += 1;
                    return false;
                }
                if !self.total.admit(self.all, now) {
                    counters.probes_refused_busy += 1;
                    return false;
                }
                known.meter.charge(self.per_session, now);
                true
            }
            _ => self.admit_new(source, session, now, counters),
        }
    }

    fn admit_new(
        &mut self,
        source: Gid,
        session: SessionId,
        now: HostTime,
        counters: &mut Counters,
    ) -> bool {
        let bucket = self.bucket(source);
        let is_ready = now >= self.buckets[bucket].ready_at(self.per_new_source)
            && now >= self.new.ready_at(self.all_new);
        if !is_ready {
            counters.probes_refused_new += 1;
            return false;
        }
        if !self.total.admit(self.all, now) {
            counters.probes_refused_busy += 1;
            return false;
        }
        self.buckets[bucket].charge(self.per_new_source, now);
        self.new.charge(self.all_new, now);
        self.learn(source, session, now);
        true
    }

    /// Counts an answer of a new session. Where its source has no room for one more, it takes the place of the new session
    /// with the fewest answers, so that single forged probes push each other out, and no known session.
    fn learn(&mut self, source: Gid, session: SessionId, now: HostTime) {
        let is_full = self.remembered >= MOST_SESSIONS;
        if is_full && !self.sessions.contains_key(&source) {
            return;
        }
        let own = self.sessions.entry(source).or_default();
        if let Some(new) = own.iter_mut().find(|new| new.id == session) {
            new.answered += 1;
            new.seen = now;
            return;
        }
        let new = Session {
            id: session,
            meter: Meter::FRESH,
            answered: 1,
            seen: now,
        };
        if own.len() < SESSIONS_PER_SOURCE && !is_full {
            own.push(new);
            self.remembered += 1;
        } else if let Some(weakest) = own
            .iter_mut()
            .filter(|other| !other.is_known())
            .min_by_key(|other| (other.answered, other.seen))
        {
            *weakest = new;
        }
    }

    fn sweep(&mut self, now: HostTime) {
        if now < self.swept.after(SWEEP) {
            return;
        }
        self.swept = now;
        for own in self.sessions.values_mut() {
            own.retain(|session| now.since(session.seen) <= KEEP);
        }
        self.sessions.retain(|_, own| !own.is_empty());
        self.remembered = self.sessions.values().map(Vec::len).sum();
    }

    fn bucket(&self, source: Gid) -> usize {
        let mut hasher = DefaultHasher::new();
        (self.seed, source).hash(&mut hasher);
        usize::try_from(hasher.finish() % BUCKETS as u64).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
