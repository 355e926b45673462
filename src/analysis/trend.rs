//! Trends: loss and round trips over days, small enough to keep for every pair of ToRs, RNIC, link and service.
//!
//! A [`Point`] is what one series counted in one step: probes, losses, and coarse sketches of the round trips and, for an RNIC, of
//! the delays at its host. Points of
//! several steps or series are merged by adding, so that ten minutes are made of minutes and hours of ten minutes. A
//! [`Block`](block) holds the points of many series of one step; series are spread over [`BUCKETS`] blocks by their name,
//! so that one series is read without the others.
//!
//! A sketch has 8 bins for each power of two: a quantile is off by at most 1/16 (6.25 %), below 64 ns by less than 8 ns.
//! A point takes some 20 bytes where round trips differ by a factor of two; that of an RNIC two or three times as much.

pub mod block;
mod gather;
mod spans;

use std::time::Duration;

pub use gather::{Gathered, MOST_SERIES};
pub use spans::Spans;

use super::windows::Sums;
use crate::time::{Nanos, WallTime};

/// Blocks of one kind and step.
pub const BUCKETS: u16 = 256;

/// What a series is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A ToR that probes and one that answers.
    TorPair,
    /// An RNIC, as a host and a device: the probes that it sends and those sent to it.
    Rnic,
    /// One direction of a link: the probes that traces have shown to cross it.
    Link,
    /// A service: the probes on its own paths.
    Service,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::TorPair, Self::Rnic, Self::Link, Self::Service];

    /// Its name in addresses and files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TorPair => "tor",
            Self::Rnic => "rnic",
            Self::Link => "link",
            Self::Service => "service",
        }
    }

    /// Its number in stores; never given to another kind.
    pub const fn number(self) -> i16 {
        match self {
            Self::TorPair => 1,
            Self::Rnic => 2,
            Self::Link => 3,
            Self::Service => 4,
        }
    }

    /// From [`Self::number`].
    pub fn from_number(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }
}

/// How long one point is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// One minute.
    Minute,
    /// Ten minutes.
    TenMinutes,
    /// One hour.
    Hour,
}

impl Step {
    /// Every step, the shortest first.
    pub const ALL: [Self; 3] = [Self::Minute, Self::TenMinutes, Self::Hour];

    /// Its length in minutes, which is also its number in stores.
    pub const fn minutes(self) -> i16 {
        match self {
            Self::Minute => 1,
            Self::TenMinutes => 10,
            Self::Hour => 60,
        }
    }

    /// From [`Self::minutes`].
    pub fn from_minutes(minutes: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.minutes() == minutes)
    }

    /// Its length.
    pub const fn length(self) -> Duration {
        match self {
            Self::Minute => Duration::from_mins(1),
            Self::TenMinutes => Duration::from_mins(10),
            Self::Hour => Duration::from_hours(1),
        }
    }

    /// Its length in nanoseconds.
    pub const fn nanos(self) -> Nanos {
        Nanos(self.minutes() as i64 * 60_000_000_000)
    }

    /// The beginning of the step in which a time lies.
    pub fn begin(self, at: WallTime) -> WallTime {
        WallTime::from_nanos(at.nanos() - at.nanos().rem_euclid(self.nanos().0))
    }

    /// The shorter step that it is made of; `None` for the shortest.
    pub const fn parts(self) -> Option<Self> {
        match self {
            Self::Minute => None,
            Self::TenMinutes => Some(Self::Minute),
            Self::Hour => Some(Self::TenMinutes),
        }
    }

    /// How long its points are kept, if points of an hour are kept for `retention`: minutes for six hours, ten minutes for
    /// two days, neither for longer than hours.
    pub fn kept(self, retention: Duration) -> Duration {
        let most = match self {
            Self::Minute => Duration::from_hours(6),
            Self::TenMinutes => Duration::from_hours(48),
            Self::Hour => retention,
        };
        most.min(retention)
    }
}

/// The beginnings of the steps that lie in a range, of which the first may begin before it; at most `most`.
pub fn steps(step: Step, from: WallTime, to: WallTime, most: usize) -> Vec<WallTime> {
    let first = step.begin(from);
    let at = |number: usize| {
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        first + Nanos(step.nanos().0.saturating_mul(number))
    };
    (0..most).map(at).take_while(|at| *at < to).collect()
}

/// Which series: its kind and its names, of which the second is empty for a service.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Series {
    /// What it is about.
    pub kind: Kind,
    /// Source ToR, host, first end, or service.
    pub first: String,
    /// Target ToR, device, second end, or nothing.
    pub second: String,
}

impl Series {
    /// A series of these names.
    pub fn new(kind: Kind, first: impl Into<String>, second: impl Into<String>) -> Self {
        Self {
            kind,
            first: first.into(),
            second: second.into(),
        }
    }

    /// The block that it is in, below [`BUCKETS`]. The same for all series of one first name.
    pub fn bucket(&self) -> u16 {
        let hash = crc32fast::hash(self.first.as_bytes());
        u16::try_from(hash % u32::from(BUCKETS)).unwrap_or_default()
    }
}

/// What a series counted in one step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Point {
    /// Probes, without those of focus.
    pub sent: u64,
    /// Those of them without an ACK in time.
    pub lost: u64,
    /// Round trips that can be trusted.
    pub rtt: Spans,
    /// Of an RNIC: the prober delays of the probes that it sends. Else empty.
    pub prober_delay: Spans,
    /// Of an RNIC: the responder delays of the probes that it answers. Else empty.
    pub responder_delay: Spans,
}

impl Point {
    /// Adds what another point counted.
    pub fn merge(&mut self, other: &Self) {
        self.sent = self.sent.saturating_add(other.sent);
        self.lost = self.lost.saturating_add(other.lost);
        self.rtt.merge(&other.rtt);
        self.prober_delay.merge(&other.prober_delay);
        self.responder_delay.merge(&other.responder_delay);
    }

    /// The span at which the share `q` (0 to 1) of the round trips lies, to 1/16; `None` without any.
    pub fn quantile(&self, q: f64) -> Option<Nanos> {
        self.rtt.quantile(q)
    }

    /// The share of lost probes; `None` without any probe.
    pub fn loss(&self) -> Option<f64> {
        (self.sent > 0).then(|| self.lost as f64 / self.sent as f64)
    }

    /// Whether nothing was counted.
    pub const fn is_empty(&self) -> bool {
        self.sent == 0
            && self.rtt.is_empty()
            && self.prober_delay.is_empty()
            && self.responder_delay.is_empty()
    }
}

/// Without delays, which belong to the RNICs at the ends.
impl From<&Sums> for Point {
    fn from(sums: &Sums) -> Self {
        Self {
            sent: sums.sent,
            lost: sums.lost,
            rtt: Spans::from(&sums.network_rtt),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests;
