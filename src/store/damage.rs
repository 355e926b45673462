//! What was damaged in a store and set aside, for whoever reports it.

use std::sync::{Arc, Mutex, PoisonError};

/// Reports that wait for their reader; beyond, only the count goes on.
const MOST_LINES: usize = 32;

/// Counts and describes damage. Clones share what they have.
#[derive(Debug, Clone, Default)]
pub struct Damage(Arc<Mutex<Noted>>);

#[derive(Debug, Default)]
struct Noted {
    total: u64,
    lines: Vec<String>,
}

impl Damage {
    /// Notes a file that was set aside: it is told first.
    pub(super) fn note_file(&self, line: String) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        noted.total += 1;
        noted.lines.insert(0, line);
        noted.lines.truncate(MOST_LINES);
    }

    /// Notes a row that was set aside.
    pub(super) fn note(&self, line: String) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        noted.total += 1;
        if noted.lines.len() < MOST_LINES {
            noted.lines.push(line);
        }
    }

    /// How many files and rows were set aside since the start.
    pub fn total(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).total
    }

    /// What was noted since the last call.
    pub fn take(&self) -> Vec<String> {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut noted.lines)
    }
}
