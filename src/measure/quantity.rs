//! Numbers with a meaning: a ratio, and a rate of probes.

use std::cmp::Ordering;
use std::fmt;
use std::time::Duration;

/// A part of a whole, or a probability: 0 to 1.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ratio(f64);

impl Ratio {
    /// All of it.
    #[cfg(test)]
    pub(crate) const ONE: Self = Self(1.0);

    /// Of a number from 0 to 1.
    pub fn new(value: f64) -> Option<Self> {
        // Adding zero makes -0 to 0: equal ratios have equal bits.
        (0.0..=1.0).contains(&value).then_some(Self(value + 0.0))
    }

    /// `part` of `whole`; 0 where there is nothing, 1 where the part is larger than the whole.
    pub fn of(part: u64, whole: u64) -> Self {
        if whole == 0 {
            return Self::default();
        }
        Self((part as f64 / whole as f64).min(1.0))
    }

    /// The number.
    pub const fn get(self) -> f64 {
        self.0
    }

    /// What is missing to 1.
    #[must_use]
    pub fn rest(self) -> Self {
        Self(1.0 - self.0)
    }
}

impl PartialEq for Ratio {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ratio {}

impl PartialOrd for Ratio {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ratio {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Six digits hide that 0.07 * 100 is not 7.
        let percent = (self.0 * 1e8).round() / 1e6;
        write!(f, "{percent}%")
    }
}

/// How many probes per second: finite and above zero.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Rate(f64);

impl Rate {
    /// The fastest rate: a million probes per second.
    pub const MAX: Self = Self(1e6);

    /// So many per second; `None` unless the number is above zero and at most [`Self::MAX`].
    pub const fn per_second(number: f64) -> Option<Self> {
        if number > 0.0 && number <= Self::MAX.0 {
            Some(Self(number))
        } else {
            None
        }
    }

    /// One per `interval`; `None` if that is above [`Self::MAX`].
    pub fn every(interval: Duration) -> Option<Self> {
        Self::per_second(interval.as_secs_f64().recip())
    }

    /// How many per second.
    pub const fn get(self) -> f64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_between_0_and_1() {
        for value in [-0.1, 1.000_001, f64::NAN, f64::INFINITY] {
            assert_eq!(Ratio::new(value), None, "{value}");
        }
        assert_eq!(Ratio::new(-0.0), Some(Ratio::default()));
        assert_eq!(Ratio::new(1.0), Some(Ratio::ONE));
        assert_eq!(Ratio::of(1, 4).to_string(), "25%");
        assert_eq!(
            Ratio::new(0.07).map(|ratio| ratio.to_string()),
            Some("7%".to_owned())
        );
        assert_eq!(
            (Ratio::of(3, 0), Ratio::of(5, 4)),
            (Ratio::default(), Ratio::ONE)
        );
        assert_eq!(Ratio::of(1, 4).rest(), Ratio::of(3, 4));
    }
}
