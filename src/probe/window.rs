//! Outstanding entries with the same timeout, numbered in the order in which they began.
//!
//! All have the same timeout, so the oldest always expires first. The cost of an operation does not depend on the
//! number of entries, and no entry delays another.

use std::collections::VecDeque;

use crate::time::HostTime;

struct Entry<T> {
    deadline: HostTime,
    /// `None` once concluded.
    value: Option<T>,
}

pub(super) struct Window<T> {
    /// Index of the first entry, which is never concluded.
    base: u64,
    entries: VecDeque<Entry<T>>,
}

impl<T> Window<T> {
    pub(super) fn new() -> Self {
        Self {
            base: 0,
            entries: VecDeque::new(),
        }
    }

    /// Index that the next value will have.
    pub(super) fn next_index(&self) -> u64 {
        self.base + self.entries.len() as u64
    }

    /// How many indices there are from the oldest that is under way to the newest.
    pub(super) fn span(&self) -> usize {
        self.entries.len()
    }

    /// Begins. A deadline before that of an older value is moved to it, which only happens when the timeout was changed.
    pub(super) fn push(&mut self, deadline: HostTime, value: T) -> u64 {
        let index = self.next_index();
        let deadline = self
            .entries
            .back()
            .map_or(deadline, |last| deadline.max(last.deadline));
        self.entries.push_back(Entry {
            deadline,
            value: Some(value),
        });
        index
    }

    fn entry_mut(&mut self, index: u64) -> Option<&mut Entry<T>> {
        let offset = usize::try_from(index.checked_sub(self.base)?).ok()?;
        self.entries.get_mut(offset)
    }

    pub(super) fn get_mut(&mut self, index: u64) -> Option<&mut T> {
        self.entry_mut(index)?.value.as_mut()
    }

    /// Concludes.
    pub(super) fn take(&mut self, index: u64) -> Option<T> {
        let value = self.entry_mut(index)?.value.take()?;
        self.trim();
        Some(value)
    }

    /// Concludes the oldest, if its time is over.
    pub(super) fn expire(&mut self, now: HostTime) -> Option<(u64, T)> {
        if self.next_deadline()? > now {
            return None;
        }
        self.pop()
    }

    /// Concludes the oldest.
    pub(super) fn pop(&mut self) -> Option<(u64, T)> {
        let index = self.base;
        let value = self.take(index)?;
        Some((index, value))
    }

    pub(super) fn next_deadline(&self) -> Option<HostTime> {
        self.entries.front().map(|entry| entry.deadline)
    }

    fn trim(&mut self) {
        while self
            .entries
            .front()
            .is_some_and(|entry| entry.value.is_none())
        {
            self.entries.pop_front();
            self.base += 1;
        }
    }
}
