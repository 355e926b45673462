//! How far an upload is.

use std::collections::VecDeque;

/// Batches on their way: enough to keep a group commit of the analyzer busy.
pub(super) const IN_FLIGHT: usize = 8;

/// A batch on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) sequence: u64,
    /// An analyzer has acknowledged it before.
    pub(super) again: bool,
}

/// How far the stream is.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Batches on their way, in their order.
    pub(super) in_flight: VecDeque<Sent>,
    /// The analyzer has refused one of the batches up to this number: until then one at a time.
    pub(super) suspect: u64,
}

impl Progress {
    /// The analyzer has everything up to `sequence`. Of what was sent again each has an answer of its own.
    pub(super) fn acknowledged(&mut self, sequence: u64) {
        if self.in_flight.pop_front_if(|sent| sent.again).is_some() {
            return;
        }
        while self
            .in_flight
            .pop_front_if(|sent| !sent.again && sent.sequence <= sequence)
            .is_some()
        {}
    }

    /// Whether another batch may be sent behind `sent`.
    pub(super) fn has_room(&self, sent: u64) -> bool {
        self.in_flight.len() < if sent < self.suspect { 1 } else { IN_FLIGHT }
    }
}
