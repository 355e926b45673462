//! What was refused of a batch, in bounded memory.

use std::fmt::Display;

use super::error::{Refusal, ReportError};

/// Refused reports: all are counted, the first [`Refusals::MOST`] are kept. A message within the limits may have millions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusals {
    kept: Vec<Refusal>,
    count: usize,
}

impl Refusals {
    /// How many are kept.
    pub const MOST: usize = 64;

    /// Counts one, and keeps it if it is one of the first.
    pub(in crate::rpc) fn add(&mut self, path: impl Display, error: ReportError) {
        self.count = self.count.saturating_add(1);
        if self.kept.len() < Self::MOST {
            let path = path.to_string();
            self.kept.push(Refusal { path, error });
        }
    }

    /// Counts those that another analyzer has refused, of which it tells one.
    pub(in crate::rpc) fn add_told(&mut self, count: usize, path: impl Display, error: String) {
        if let Some(others) = count.checked_sub(1) {
            self.add(path, ReportError::Told(error));
            self.count = self.count.saturating_add(others);
        }
    }

    /// How many reports were refused.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether every report was taken.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The first ones.
    pub fn kept(&self) -> &[Refusal] {
        &self.kept
    }
}
