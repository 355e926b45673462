//! The legs of 5-tuples as their traces have shown them: how far each is believed, and the paths between two ToRs.
//!
//! 5-tuples on the same path share one leg, so that millions of them take little room. A trace is believed less while nobody
//! repeats it, and less after each other path that the same 5-tuple has taken before.
//!
//! A 5-tuple whose traces contradict each other again and again has no path of its own: switches spray its packets, or choose paths by
//! load. It counts as *sprayed*, and no trace is believed, until repeated traces agree again.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::leg::{Leg, Shown};
use crate::id::TorId;
use crate::probe::trace::Tuple;
use crate::time::WallTime;

/// A trace that was not repeated for so long is doubted twice as much as a new one; after twice this time three times.
const AGE: Duration = Duration::from_mins(30);
/// How often ages are looked at.
const LOOK: Duration = Duration::from_mins(1);
/// The most that a trace is doubted, in multiples of the doubt of a new one.
const MOST_STEPS: u32 = 25;

/// Of the last so many traces of a 5-tuple
const LOOKED_AT: u8 = 4;
/// so many have shown another path than the trace before, from which on it is sprayed. If none has, it is not sprayed any more.
const SPRAYED: u32 = 3;

#[derive(Debug)]
struct Known {
    leg: Arc<Leg>,
    /// How often traces have shown another path than before.
    changes: u32,
    confirmed: WallTime,
    /// The last traces, the newest in the lowest bit: 1 for one that showed another path.
    recent: u8,
    is_sprayed: bool,
}

impl Known {
    /// Takes in whether another trace shows another path than the one before.
    const fn repeat(&mut self, is_other: bool) {
        self.recent = ((self.recent << 1) | is_other as u8) & ((1 << LOOKED_AT) - 1);
        self.is_sprayed = if self.is_sprayed {
            self.recent != 0
        } else {
            self.recent.count_ones() >= SPRAYED
        };
    }

    /// By how much it is doubted, in multiples of the doubt of a new trace.
    fn steps(&self, now: WallTime) -> u32 {
        let age = now.since(self.confirmed).as_secs();
        let ages = u32::try_from(age / AGE.as_secs()).unwrap_or(MOST_STEPS);
        self.changes
            .saturating_add(1)
            .saturating_mul(ages.saturating_add(1))
            .min(MOST_STEPS)
    }
}

/// What a trace has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Learned {
    /// Nothing but that it is known from now on.
    Confirmed,
    /// The 5-tuple was not known, or took another path.
    New {
        /// The ToRs between which the old path is not known any more: this was its last 5-tuple.
        hidden: Option<(TorId, TorId)>,
    },
}

/// All traced 5-tuples.
#[derive(Debug, Default)]
pub(super) struct TracedLegs {
    tuples: HashMap<Tuple, Known>,
    /// By path, one for each number of steps of doubt.
    legs: HashMap<Vec<String>, BTreeMap<u32, Arc<Leg>>>,
    shown: HashMap<(TorId, TorId), Shown>,
    sprayed: usize,
    looked: Option<WallTime>,
    /// 5-tuples whose leg has changed, until they are taken.
    changed: HashSet<Tuple>,
}

fn tors(path: &[String]) -> Option<(TorId, TorId)> {
    let (first, last) = (path.first()?, path.last()?);
    (first != last).then(|| (TorId::new(first.as_str()), TorId::new(last.as_str())))
}

impl TracedLegs {
    pub(super) fn len(&self) -> usize {
        self.tuples.len()
    }

    /// 5-tuples that have no path of their own.
    pub(super) const fn sprayed(&self) -> usize {
        self.sprayed
    }

    /// The leg of a 5-tuple that has one of its own.
    pub(super) fn get(&self, tuple: &Tuple) -> Option<&Arc<Leg>> {
        let known = self.tuples.get(tuple)?;
        (!known.is_sprayed).then_some(&known.leg)
    }

    /// The paths between two ToRs that traces show, by pairs of ToRs.
    pub(super) const fn shown(&self) -> &HashMap<(TorId, TorId), Shown> {
        &self.shown
    }

    /// The 5-tuples whose leg has changed since this was asked last.
    pub(super) fn take_changed(&mut self) -> HashSet<Tuple> {
        std::mem::take(&mut self.changed)
    }

    /// A trace of `tuple` that has become known at `now` shows `path`.
    pub(super) fn learn(&mut self, tuple: Tuple, path: Vec<String>, now: WallTime) -> Learned {
        let before = self.tuples.get_mut(&tuple);
        if let Some(known) = before
            && known.leg.path.as_deref() == Some(path.as_slice())
        {
            known.confirmed = known.confirmed.max(now);
            let was_sprayed = known.is_sprayed;
            known.repeat(false);
            if was_sprayed && !known.is_sprayed {
                self.sprayed -= 1;
                self.changed.insert(tuple);
            }
            return Learned::Confirmed;
        }
        self.changed.insert(tuple);
        // A path that has changed may do so again: repeated traces that disagree are believed less and less.
        let before = self.tuples.remove(&tuple).map(|mut known| {
            let was_sprayed = known.is_sprayed;
            known.repeat(true);
            self.sprayed += usize::from(known.is_sprayed && !was_sprayed);
            known
        });
        let hidden = before.as_ref().and_then(|known| self.hide(&known.leg));
        let changes = before
            .as_ref()
            .map_or(0, |known| known.changes.saturating_add(1));
        if let Some(pair) = tors(&path) {
            let shown = self.shown.entry(pair).or_default();
            *shown.entry(path.clone()).or_default() += 1;
        }
        let steps = changes.saturating_add(1).min(MOST_STEPS);
        let known = Known {
            leg: self.leg(path, steps),
            changes,
            confirmed: now,
            recent: before.as_ref().map_or(0, |known| known.recent),
            is_sprayed: before.is_some_and(|known| known.is_sprayed),
        };
        self.tuples.insert(tuple, known);
        Learned::New { hidden }
    }

    /// Nobody probes `tuple` any more. Gives the ToRs between which one path less is known.
    pub(super) fn forget(&mut self, tuple: &Tuple) -> Option<(TorId, TorId)> {
        let known = self.tuples.remove(tuple)?;
        self.changed.insert(*tuple);
        self.sprayed -= usize::from(known.is_sprayed);
        self.hide(&known.leg)
    }

    /// One 5-tuple less takes the path of `leg`. Gives the ToRs if it was the last one.
    fn hide(&mut self, leg: &Leg) -> Option<(TorId, TorId)> {
        let path = leg.path.as_deref()?;
        let pair = tors(path)?;
        let Entry::Occupied(mut shown) = self.shown.entry(pair) else {
            return None;
        };
        let count = shown.get_mut().get_mut(path)?;
        *count -= 1;
        if *count > 0 {
            return None;
        }
        shown.get_mut().remove(path);
        let pair = shown.key().clone();
        if shown.get().is_empty() {
            shown.remove();
        }
        Some(pair)
    }

    fn leg(&mut self, path: Vec<String>, steps: u32) -> Arc<Leg> {
        if let Some(leg) = self.legs.get(&path).and_then(|legs| legs.get(&steps)) {
            return Arc::clone(leg);
        }
        let leg = Arc::new(Leg::traced(path.clone(), steps));
        let legs = self.legs.entry(path).or_default();
        legs.insert(steps, Arc::clone(&leg));
        leg
    }

    /// Doubts what was not traced again for long; looks at most once in [`LOOK`].
    pub(super) fn age(&mut self, now: WallTime) {
        let recently = |last| last <= now && now.since(last) < LOOK;
        if self.looked.is_some_and(recently) {
            return;
        }
        self.looked = Some(now);
        let older: Vec<(Tuple, u32)> = self
            .tuples
            .iter()
            .map(|(tuple, known)| (*tuple, known.steps(now), known.leg.steps))
            .filter(|(_, steps, before)| steps != before)
            .map(|(tuple, steps, _)| (tuple, steps))
            .collect();
        for (tuple, steps) in older {
            let known = self.tuples.get(&tuple);
            let path = known.and_then(|known| known.leg.path.clone());
            if let Some(path) = path {
                let leg = self.leg(path, steps);
                if let Some(known) = self.tuples.get_mut(&tuple) {
                    known.leg = leg;
                    self.changed.insert(tuple);
                }
            }
        }
        self.legs.retain(|_, legs| {
            // One is the map's own.
            legs.retain(|_, leg| Arc::strong_count(leg) > 1);
            !legs.is_empty()
        });
    }
}

#[cfg(test)]
mod tests;
