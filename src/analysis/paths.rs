//! The paths that traces have shown: the newest trace of each 5-tuple, how old it is, and how the path has changed.
//!
//! A path is what the newest complete traces say together; a trace that ends in silence says where packets stop, and
//! changes nothing about the path. In bounded memory: beyond the limit the path that was traced longest ago goes.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use crate::probe::trace::{Relation, Route, Trace, Tuple};
use crate::time::{Nanos, WallTime};

/// Changes that are kept of one path.
pub(crate) const MAX_CHANGES: usize = 8;

/// A path that became another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    /// When the trace ended that showed it.
    pub at: WallTime,
    /// What was known before.
    pub from: Route,
    /// What came after.
    pub to: Route,
}

/// What is known of the path of one 5-tuple.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    route: Option<Route>,
    confirmed: Option<WallTime>,
    newest: Trace,
    changes: VecDeque<Change>,
    changed: u64,
}

impl Known {
    /// The switches, if a complete trace has shown them. The newest trace may have stopped on the way: see
    /// [`Self::newest`].
    pub(crate) const fn route(&self) -> Option<&Route> {
        self.route.as_ref()
    }

    /// When a complete trace last agreed with [`Self::route`].
    pub(crate) const fn confirmed(&self) -> Option<WallTime> {
        self.confirmed
    }

    /// The newest trace, complete or not.
    pub(crate) const fn newest(&self) -> &Trace {
        &self.newest
    }

    /// Changes, the oldest first; at most [`MAX_CHANGES`].
    pub(crate) fn changes(&self) -> impl DoubleEndedIterator<Item = &Change> + ExactSizeIterator {
        self.changes.iter()
    }

    /// How many changes there were, with those that are no longer kept.
    pub(crate) const fn changed(&self) -> u64 {
        self.changed
    }

    fn first(trace: &Trace) -> Self {
        let complete = trace.end.is_complete();
        Self {
            route: complete.then(|| trace.route()),
            confirmed: complete.then_some(trace.at),
            newest: trace.clone(),
            changes: VecDeque::new(),
            changed: 0,
        }
    }

    fn learn(&mut self, trace: &Trace) -> Learned {
        self.newest = trace.clone();
        if !trace.end.is_complete() {
            return Learned::Silent;
        }
        let new = trace.route();
        let relation = self.route.as_ref().map(|known| known.relation(&new));
        let (route, learned) = match relation {
            None => (new, Learned::New),
            Some(Relation::Same(both)) => (both, Learned::Confirmed),
            // The last switches kept silent by chance; what they are is known.
            Some(Relation::Shorter) => {
                self.confirmed = Some(trace.at);
                return Learned::Confirmed;
            }
            Some(Relation::Different) => {
                self.changed += 1;
                if self.changes.len() == MAX_CHANGES {
                    self.changes.pop_front();
                }
                self.changes.push_back(Change {
                    at: trace.at,
                    from: self.route.clone().unwrap_or_default(),
                    to: new.clone(),
                });
                (new, Learned::Changed)
            }
        };
        self.route = Some(route);
        self.confirmed = Some(trace.at);
        learned
    }
}

/// What a trace did to what was known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Learned {
    /// The path was not known.
    New,
    /// It is as it was.
    Confirmed,
    /// It is another one now.
    Changed,
    /// The trace stopped on the way: the path stays as it was, if it was known.
    Silent,
    /// The trace is older than one that is known, or the same again.
    Old,
}

/// All paths that were traced.
#[derive(Debug, Clone, Default)]
pub(crate) struct KnownPaths {
    paths: HashMap<Tuple, Known>,
    by_age: BTreeSet<(WallTime, Tuple)>,
    limit: usize,
    evicted: u64,
    /// What went since [`Self::take_gone`].
    gone: RefCell<Vec<Tuple>>,
}

impl KnownPaths {
    /// For at most `limit` paths.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            ..Self::default()
        }
    }

    /// Keeps so many paths from now on.
    pub(crate) const fn keep(&mut self, paths: usize) {
        self.limit = paths;
    }

    /// Takes a trace.
    pub(crate) fn learn(&mut self, trace: &Trace) -> Learned {
        let tuple = trace.tuple;
        let learned = match self.paths.get_mut(&tuple) {
            Some(known) => {
                if trace.at <= known.newest.at {
                    return Learned::Old;
                }
                self.by_age.remove(&(known.newest.at, tuple));
                known.learn(trace)
            }
            None => {
                let known = Known::first(trace);
                let learned = if known.route.is_some() {
                    Learned::New
                } else {
                    Learned::Silent
                };
                self.paths.insert(tuple, known);
                learned
            }
        };
        self.by_age.insert((trace.at, tuple));
        while self.paths.len() > self.limit
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.paths.remove(&oldest);
            self.gone.get_mut().push(oldest);
            self.evicted += 1;
        }
        learned
    }

    /// What is known of one path.
    pub(crate) fn get(&self, tuple: &Tuple) -> Option<&Known> {
        self.paths.get(tuple)
    }

    /// All paths, in no order.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (&Tuple, &Known)> {
        self.paths.iter()
    }

    /// Forgets paths that were not traced for `age`.
    pub(crate) fn expire(&mut self, now: WallTime, age: Duration) {
        let horizon = now + (Nanos::ZERO - Nanos::from(age));
        while let Some((at, tuple)) = self.by_age.first().copied()
            && at < horizon
        {
            self.by_age.pop_first();
            self.paths.remove(&tuple);
            self.gone.get_mut().push(tuple);
        }
    }

    /// The paths that went since the last call, because they were too many or too old.
    pub(crate) fn take_gone(&self) -> Vec<Tuple> {
        self.gone.take()
    }

    /// How many paths are known.
    pub(crate) fn len(&self) -> usize {
        self.paths.len()
    }

    /// Paths that had to go because of the limit, since the start.
    pub(crate) const fn evicted(&self) -> u64 {
        self.evicted
    }
}

#[cfg(test)]
mod tests;
