//! Batches that were acknowledged and may be wanted again, by an analyzer that takes over: in memory, bounded.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::codec::Encoded;
use super::epoch::OVERHEAD;

/// Acknowledged batches of one identity. Nothing is kept unless that is wanted.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// For how long, where at all.
    age: Option<Duration>,
    /// Whose batches these are.
    id: u64,
    /// The oldest first; their numbers rise.
    batches: VecDeque<(u64, Encoded, Instant)>,
    /// What they take.
    bytes: u64,
}

impl Kept {
    /// From now on batches are kept for so long; `None`: none are.
    pub(super) fn keep(&mut self, age: Option<Duration>) {
        self.age = age;
        if age.is_none() {
            self.batches.clear();
            self.bytes = 0;
        }
    }

    pub(super) const fn is_wanted(&self) -> bool {
        self.age.is_some()
    }

    /// Takes a batch that was acknowledged, and forgets the oldest beyond `limit` bytes.
    pub(super) fn take(
        &mut self,
        (id, sequence): (u64, u64),
        encoded: Encoded,
        limit: u64,
        now: Instant,
    ) {
        if id != self.id {
            self.id = id;
            self.batches.clear();
            self.bytes = 0;
        }
        self.bytes += size(&encoded);
        self.batches.push_back((sequence, encoded, now));
        while self.bytes > limit && self.forget_oldest() {}
        self.expire(now);
    }

    /// The newest batch of an identity with a smaller number than `before`.
    pub(super) fn newest_below(
        &mut self,
        (id, before): (u64, u64),
        now: Instant,
    ) -> Option<(u64, Encoded)> {
        self.expire(now);
        if id != self.id {
            return None;
        }
        let end = self
            .batches
            .partition_point(|(sequence, ..)| *sequence < before);
        let (sequence, encoded, _) = self.batches.get(end.checked_sub(1)?)?;
        Some((*sequence, encoded.clone()))
    }

    /// Forgets a batch that nobody can read.
    pub(super) fn forget(&mut self, sequence: u64) {
        let at = self
            .batches
            .iter()
            .position(|(number, ..)| *number == sequence);
        if let Some((_, encoded, _)) = at.and_then(|at| self.batches.remove(at)) {
            self.bytes = self.bytes.saturating_sub(size(&encoded));
        }
    }

    fn expire(&mut self, now: Instant) {
        let age = self.age.unwrap_or_default();
        while self
            .batches
            .front()
            .is_some_and(|(.., at)| now.saturating_duration_since(*at) > age)
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) -> bool {
        let oldest = self.batches.pop_front();
        if let Some((_, encoded, _)) = &oldest {
            self.bytes = self.bytes.saturating_sub(size(encoded));
        }
        oldest.is_some()
    }
}

fn size(encoded: &Encoded) -> u64 {
    encoded.bytes.len() as u64 + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(bytes: usize) -> Encoded {
        Encoded {
            compressed: false,
            bytes: vec![0; bytes],
        }
    }

    fn numbers(kept: &mut Kept, id: u64, now: Instant) -> Vec<u64> {
        let (mut before, mut found) = (u64::MAX, Vec::new());
        while let Some((sequence, _)) = kept.newest_below((id, before), now) {
            found.push(sequence);
            before = sequence;
        }
        found
    }

    #[test]
    fn the_newest_are_kept_within_bounds_of_bytes_and_time() {
        let (mut kept, begin) = (Kept::default(), Instant::now());
        let second = Duration::from_secs(1);
        kept.keep(Some(10 * second));
        for number in 1..=5 {
            let now = begin + second * u32::try_from(number).expect("small");
            kept.take((7, number), batch(36), 350, now);
        }
        assert_eq!(numbers(&mut kept, 7, begin + 5 * second), [5, 4, 3]);
        assert_eq!(numbers(&mut kept, 8, begin + 5 * second), [0; 0]);
        kept.forget(4);
        kept.forget(4);
        assert_eq!(kept.bytes, 200);
        assert_eq!(numbers(&mut kept, 7, begin + 13 * second), [5, 3]);
        assert_eq!(numbers(&mut kept, 7, begin + 14 * second), [5]);
        // Another identity: the numbers of the one before are not comparable.
        kept.take((8, 1), batch(36), 350, begin + 14 * second);
        assert_eq!(numbers(&mut kept, 8, begin + 14 * second), [1]);
        kept.keep(None);
        assert_eq!((kept.bytes, numbers(&mut kept, 8, begin).len()), (0, 0));
    }
}
