//! A coarse sketch of spans of time.

use crate::analysis::sketch::{Bin, Sketch};
use crate::time::Nanos;

/// Bins of a [`Sketch`] that are one bin here, as a power of two.
const COARSER: u32 = 3;

/// Spans of time, with 8 bins for each power of two.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spans {
    /// Bins, ascending, with their counts, none of which is zero.
    pub(super) bins: Vec<(u16, u64)>,
}

impl Spans {
    /// Adds what another one has counted.
    pub fn merge(&mut self, other: &Self) {
        for (bin, count) in &other.bins {
            self.add(*bin, *count);
        }
    }

    fn add(&mut self, bin: u16, count: u64) {
        match self.bins.binary_search_by_key(&bin, |(bin, _)| *bin) {
            Ok(at) => self.bins[at].1 = self.bins[at].1.saturating_add(count),
            Err(at) => self.bins.insert(at, (bin, count)),
        }
    }

    /// The span at which the share `q` (0 to 1) lies, to 1/16; `None` without any.
    pub fn quantile(&self, q: f64) -> Option<Nanos> {
        let mut sketch = Sketch::default();
        for (bin, count) in &self.bins {
            let middle = (bin << COARSER) + (1 << (COARSER - 1));
            sketch.add_many(Bin::from_number(middle), *count);
        }
        sketch.quantile(q)
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.bins.is_empty()
    }
}

impl From<&Sketch> for Spans {
    fn from(sketch: &Sketch) -> Self {
        let mut bins: Vec<(u16, u64)> = Vec::new();
        for (bin, count) in sketch.bins() {
            let bin = bin.number() >> COARSER;
            match bins.last_mut() {
                Some((last, sum)) if *last == bin => *sum = sum.saturating_add(count),
                _ => bins.push((bin, count)),
            }
        }
        Self { bins }
    }
}
