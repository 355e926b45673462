//! What a trace says about a path: which switches the packets of one 5-tuple pass.
//!
//! A tracer sends packets with the probes' own 5-tuple and hop limits 1, 2, 3 …; the switch on which one expires answers.
//! One such round is an [`Observation`]. Answers get lost and switches limit their rate, so rounds are put together by an
//! [`Assembly`], which concludes them to a [`Trace`].
//!
//! RNICs do not answer packets to port 4791 with any hop limit, so a trace does not see the end of the path. What is
//! behind the last switch that answered is inferred; [`End`] says how.

pub mod schedule;

use std::fmt;

use crate::id::{Gid, NodeName, UdpSourcePort};
use crate::time::{Nanos, WallTime};

/// The most hops of a trace. Clos fabrics have five switches on a path, or seven with a fourth tier.
pub(crate) const MAX_HOPS: u8 = 32;

/// What decides the path of a probe: its 5-tuple without what is always the same (UDP, destination port 4791).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tuple {
    /// The RNIC port that sends.
    pub source: Gid,
    /// The RNIC port that is sent to.
    pub target: Gid,
    /// The UDP source port.
    pub port: UdpSourcePort,
}

impl Tuple {
    /// Before all others in their order.
    pub(crate) const LEAST: Self = Self {
        source: Gid::from_bytes([0; 16]),
        target: Gid::from_bytes([0; 16]),
        port: UdpSourcePort(0),
    };
}

impl fmt::Display for Tuple {
    /// `10.0.0.1 -> 10.0.0.2 port 50000`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {} port {}", self.source, self.target, self.port)
    }
}

/// Why a path is traced, the most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// Its probes began to fail.
    Failing,
    /// Its probes come through again.
    Recovered,
    /// It was never traced before.
    New,
    /// Its turn had come.
    Scheduled,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::Failing, Self::Recovered, Self::New, Self::Scheduled];

    /// As answers and files name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Failing => "failing",
            Self::Recovered => "recovered",
            Self::New => "new",
            Self::Scheduled => "scheduled",
        }
    }
}

/// A switch's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Who.
    pub node: NodeName,
    /// From sending to the answer; a switch's processor answers when it has time.
    pub rtt: Nanos,
}

/// What is behind the last hop of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// The target, which answered itself.
    Answered,
    /// The target, by inference: nothing beyond answers, and the path's probes come through or it was as long before.
    Inferred,
    /// Not known: nothing beyond answers, and no probe comes through or the path has been longer before.
    Silent,
}

impl End {
    /// Every end.
    pub const ALL: [Self; 3] = [Self::Answered, Self::Inferred, Self::Silent];

    /// As answers and files name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Inferred => "inferred",
            Self::Silent => "silent",
        }
    }

    /// Whether the hops are the whole path.
    pub(crate) const fn is_complete(self) -> bool {
        !matches!(self, Self::Silent)
    }
}

/// The switches of a path in their order; `None` for one that never answered. Never ends with `None` unless the target
/// itself answered behind it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Route(Vec<Option<NodeName>>);

/// How a newer route stands to an older one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Relation {
    /// Nothing contradicts: this is what both know together.
    Same(Route),
    /// The newer one agrees as far as it goes, and ends earlier.
    Shorter,
    /// They contradict each other.
    Different,
}

impl Route {
    /// From its hops.
    pub const fn new(hops: Vec<Option<NodeName>>) -> Self {
        Self(hops)
    }

    /// The hops.
    pub fn hops(&self) -> &[Option<NodeName>] {
        &self.0
    }

    /// Whether every switch of it is known.
    pub(crate) fn is_whole(&self) -> bool {
        self.0.iter().all(Option::is_some)
    }

    /// The switches that are known.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeName> {
        self.0.iter().flatten()
    }

    /// How `newer` stands to this one. Where both go, unknown hops agree with everything.
    pub(crate) fn relation(&self, newer: &Self) -> Relation {
        let agree = self
            .0
            .iter()
            .zip(&newer.0)
            .all(|(old, new)| old.is_none() || new.is_none() || old == new);
        if !agree {
            return Relation::Different;
        }
        if newer.0.len() < self.0.len() {
            return Relation::Shorter;
        }
        let known = newer
            .0
            .iter()
            .enumerate()
            .map(|(index, new)| new.clone().or_else(|| self.0.get(index).cloned().flatten()));
        Relation::Same(Self(known.collect()))
    }
}

impl fmt::Display for Route {
    /// `tor0 ? tor2`, a question mark for a hop that is not known.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, hop) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            match hop {
                Some(node) => node.fmt(f)?,
                None => f.write_str("?")?,
            }
        }
        Ok(())
    }
}

/// A finished trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// Of what.
    pub tuple: Tuple,
    /// When it ended.
    pub at: WallTime,
    /// Why it was made.
    pub reason: Reason,
    /// What is behind the last hop.
    pub end: End,
    /// The switches from the source's ToR on; `None` where none answered.
    pub hops: Vec<Option<Answer>>,
}

impl Trace {
    /// Its switches.
    pub fn route(&self) -> Route {
        let node = |hop: &Option<Answer>| hop.as_ref().map(|answer| answer.node.clone());
        Route(self.hops.iter().map(node).collect())
    }
}

/// One round: what came back for hop limits 1, 2, 3 …
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observation {
    /// By hop limit, from 1.
    pub answers: Vec<Option<Answer>>,
    /// The smallest hop limit with which the target itself answered, if it did.
    pub target_at: Option<u8>,
}

impl Observation {
    /// Nothing yet, for hop limits up to `hops`.
    pub fn empty(hops: u8) -> Self {
        Self {
            answers: vec![None; usize::from(hops.min(MAX_HOPS))],
            target_at: None,
        }
    }

    /// Notes a switch's answer to the packet with this hop limit. Hop limits that were not asked for are left out.
    pub fn answer(&mut self, hop_limit: u8, answer: Answer) {
        let place = usize::from(hop_limit).checked_sub(1);
        if let Some(slot) = place.and_then(|place| self.answers.get_mut(place)) {
            *slot = Some(answer);
        }
    }

    /// Notes that the target answered the packet with this hop limit.
    pub fn reached(&mut self, hop_limit: u8) {
        let first = self.target_at.map_or(hop_limit, |at| at.min(hop_limit));
        self.target_at = Some(first.max(1));
    }
}

/// What is known of a path before it is traced.
#[derive(Debug, Clone, Copy)]
pub struct Before<'a> {
    /// What earlier traces say, if there were any.
    pub route: Option<&'a Route>,
    /// Whether probes come through, if not all.
    pub healthy: bool,
}

/// Puts rounds together. Where two of them contradict each other the newer one is right: the path has changed between.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Assembly {
    rounds: u32,
    answers: Vec<Option<Answer>>,
    target_at: Option<u8>,
}

impl Assembly {
    /// Adds the next round.
    pub fn add(&mut self, observation: Observation) {
        self.rounds += 1;
        if self.answers.len() < observation.answers.len() {
            self.answers.resize(observation.answers.len(), None);
        }
        for (slot, answer) in self.answers.iter_mut().zip(observation.answers) {
            if answer.is_some() {
                *slot = answer;
            }
        }
        self.target_at = observation.target_at.or(self.target_at);
    }

    /// How many rounds were added.
    pub const fn rounds(&self) -> u32 {
        self.rounds
    }

    /// How many hops the answers show.
    fn length(&self) -> usize {
        match self.target_at {
            Some(at) => usize::from(at - 1).min(self.answers.len()),
            None => self
                .answers
                .iter()
                .rposition(Option::is_some)
                .map_or(0, |last| last + 1),
        }
    }

    /// Whether another round may tell more: something is missing before the end, or the end itself is in doubt.
    pub(crate) fn wants_more(&self, before: Before<'_>) -> bool {
        let length = self.length();
        if self.answers[..length].iter().any(Option::is_none) || length == 0 {
            return true;
        }
        if self.target_at.is_some() {
            return false;
        }
        match before.route {
            // The last switches may have been silent by chance.
            None => self.rounds < 2,
            Some(route) => length < route.hops().len(),
        }
    }

    /// The trace that the rounds make.
    pub(crate) fn conclude(
        self,
        tuple: Tuple,
        at: WallTime,
        reason: Reason,
        before: Before<'_>,
    ) -> Trace {
        let length = self.length();
        let mut hops = self.answers;
        hops.truncate(length);
        let known = before.route.map_or(0, |route| route.hops().len());
        let end = match self.target_at {
            Some(_) => End::Answered,
            // A path through a fabric has a switch at least.
            None if length > 0 && length >= known && (before.healthy || known > 0) => End::Inferred,
            None => End::Silent,
        };
        Trace {
            tuple,
            at,
            reason,
            end,
            hops,
        }
    }
}

#[cfg(test)]
mod tests;
