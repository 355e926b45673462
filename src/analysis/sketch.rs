//! A mergeable sketch of a distribution of spans, with a bounded relative error.
//!
//! The idea is DDSketch's (Masson, Rim, Lee, VLDB 2019): count values in bins whose width grows with the value, so that
//! every quantile is known to a fixed relative error and two sketches are merged by adding counts. The bins are the
//! log-linear ones of the paper's "fast" mapping: 64 bins for each power of two. They need integer arithmetic only, so
//! that every machine puts a value into the same bin. Below 128 ns the bins are exact; above, a quantile is off
//! by at most 1/128 (0.8 %).

use crate::time::Nanos;

/// Bins per power of two, as a power of two.
const SUB_BITS: u32 = 6;
const SUB_BINS: u64 = 1 << SUB_BITS;

/// One bin of a [`Sketch`]. Twelve bits are enough for every span that is not negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bin(u16);

impl Bin {
    /// How many bits [`Bin::number`] needs.
    pub const BITS: u32 = 12;

    /// The bin of a span; a negative one counts as zero.
    pub fn of(span: Nanos) -> Self {
        let value = u64::try_from(span.0).unwrap_or(0);
        if value < SUB_BINS {
            #[expect(clippy::cast_possible_truncation, reason = "below 64")]
            return Self(value as u16);
        }
        let shift = value.ilog2() - SUB_BITS;
        let sub = (value >> shift) & (SUB_BINS - 1);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "shift <= 56, so the number is below 58 * 64"
        )]
        Self(((u64::from(shift) + 1) * SUB_BINS + sub) as u16)
    }

    /// The bin's number; larger spans have larger numbers.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// From [`Bin::number`]; the upper bits beyond [`Bin::BITS`] are ignored.
    pub(crate) const fn from_number(number: u16) -> Self {
        Self(number & ((1 << Self::BITS) - 1))
    }

    /// The middle of the bin: what stands for all spans in it.
    pub fn middle(self) -> Nanos {
        let number = u64::from(self.0);
        let middle = if number < SUB_BINS {
            number
        } else {
            let shift = number / SUB_BINS - 1;
            let lower = (SUB_BINS + number % SUB_BINS)
                .checked_shl(u32::try_from(shift).unwrap_or(u32::MAX));
            let half = (1u64 << shift.min(62)) >> 1;
            lower.unwrap_or(u64::MAX).saturating_add(half)
        };
        Nanos(i64::try_from(middle).unwrap_or(i64::MAX))
    }
}

/// A distribution of spans.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sketch {
    /// Sorted by bin, each bin once, no count of zero.
    bins: Vec<(Bin, u64)>,
    total: u64,
}

impl Sketch {
    /// Counts one span.
    pub fn add(&mut self, span: Nanos) {
        self.add_many(Bin::of(span), 1);
    }

    /// Counts `count` spans of one bin; saturates.
    pub(crate) fn add_many(&mut self, bin: Bin, count: u64) {
        if count == 0 {
            return;
        }
        self.total = self.total.saturating_add(count);
        // Callers mostly add in ascending order, at the end.
        let at = match self.bins.last() {
            Some((last, _)) if *last < bin => Err(self.bins.len()),
            None => Err(0),
            Some(_) => self.bins.binary_search_by_key(&bin, |(bin, _)| *bin),
        };
        match at {
            Ok(at) => self.bins[at].1 = self.bins[at].1.saturating_add(count),
            Err(at) => self.bins.insert(at, (bin, count)),
        }
    }

    /// Adds all that `other` has counted: the same as if its spans had been added here.
    pub(crate) fn merge(&mut self, other: &Self) {
        if self.bins.is_empty() {
            self.clone_from(other);
            return;
        }
        for (bin, count) in &other.bins {
            self.add_many(*bin, *count);
        }
    }

    /// How many spans were counted.
    pub const fn count(&self) -> u64 {
        self.total
    }

    /// The span below or at which the share `q` (0 to 1) of all spans lies, to the sketch's relative error; `None`
    /// for an empty sketch.
    pub fn quantile(&self, q: f64) -> Option<Nanos> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to 0 ..= total"
        )]
        let rank =
            ((q.clamp(0.0, 1.0) * self.total as f64).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0u64;
        self.bins
            .iter()
            .find(|(_, count)| {
                seen = seen.saturating_add(*count);
                seen >= rank
            })
            .or(self.bins.last())
            .map(|(bin, _)| bin.middle())
    }

    /// The smallest span, to the sketch's relative error.
    pub fn min(&self) -> Option<Nanos> {
        self.bins.first().map(|(bin, _)| bin.middle())
    }

    /// The largest span, to the sketch's relative error.
    pub fn max(&self) -> Option<Nanos> {
        self.bins.last().map(|(bin, _)| bin.middle())
    }

    /// The bins that hold something, ascending, with their counts.
    pub fn bins(&self) -> impl Iterator<Item = (Bin, u64)> + '_ {
        self.bins.iter().copied()
    }
}

#[cfg(test)]
mod tests;
