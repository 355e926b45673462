//! Points in time of three clock domains that never mix, and the signed span between two points of one domain.

mod human;

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use human::HumanDuration;

/// A signed span of time in nanoseconds.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Nanos(pub i64);

impl Nanos {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// As an unsigned duration, if it is not negative.
    pub(crate) fn to_duration(self) -> Option<Duration> {
        u64::try_from(self.0).ok().map(Duration::from_nanos)
    }

    /// Whether the span points backwards.
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }
}

impl From<Duration> for Nanos {
    /// Saturates at 292 years.
    fn from(duration: Duration) -> Self {
        Self(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
    }
}

impl Add for Nanos {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Nanos {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Nanos {
    /// In the largest unit that keeps the number at or above one: `1.25 ms`, `12.3 µs`, `-40 ns`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.0 as f64;
        let text = match self.0.unsigned_abs() {
            0..1_000 => format!("{} ns", self.0),
            1_000..1_000_000 => format!("{:.2} µs", value / 1e3),
            1_000_000..1_000_000_000 => format!("{:.2} ms", value / 1e6),
            _ => format!("{:.2} s", value / 1e9),
        };
        f.pad(&text)
    }
}

macro_rules! clock_domain {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(i64);

        impl $name {
            /// From nanoseconds since this clock's origin.
            pub const fn from_nanos(nanos: i64) -> Self {
                Self(nanos)
            }

            /// Nanoseconds since this clock's origin.
            pub const fn nanos(self) -> i64 {
                self.0
            }

            /// The point `span` later, saturating.
            #[must_use]
            pub fn after(self, span: Duration) -> Self {
                self + Nanos::from(span)
            }

            /// How long ago `earlier` was; zero if it is in the future.
            pub fn since(self, earlier: Self) -> Duration {
                (self - earlier).to_duration().unwrap_or_default()
            }
        }

        impl Add<Nanos> for $name {
            type Output = Self;

            fn add(self, span: Nanos) -> Self {
                Self(self.0.saturating_add(span.0))
            }
        }

        impl Sub for $name {
            type Output = Nanos;

            fn sub(self, earlier: Self) -> Nanos {
                Nanos(self.0.saturating_sub(earlier.0))
            }
        }
    )*};
}

clock_domain! {
    /// A point on this host's monotonic clock (`CLOCK_MONOTONIC`; virtual in simulations).
    HostTime;
    /// A point on the clock that stamps one endpoint's completions; comparable only within that endpoint.
    NicTime;
    /// A point on the wall clock: nanoseconds since the Unix epoch. For people and storage, never for measuring.
    WallTime;
}

/// Where task loops read the time; logic takes `now` as an argument instead.
pub trait Clock: Send + Sync {
    /// Now, for measuring.
    fn host(&self) -> HostTime;
    /// Now, for people and storage.
    fn wall(&self) -> WallTime;
}

/// The operating system's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn host(&self) -> HostTime {
        HostTime(to_nanos(rustix::time::clock_gettime(
            rustix::time::ClockId::Monotonic,
        )))
    }

    fn wall(&self) -> WallTime {
        WallTime(to_nanos(rustix::time::clock_gettime(
            rustix::time::ClockId::Realtime,
        )))
    }
}

fn to_nanos(time: rustix::time::Timespec) -> i64 {
    time.tv_sec
        .saturating_mul(1_000_000_000)
        .saturating_add(time.tv_nsec)
}
