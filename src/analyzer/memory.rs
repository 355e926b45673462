//! Bounds on the memory of batches between the network and the windows, by bytes.
//!
//! A batch counts three times on its way: as bytes that arrive ([`Receiving`]), as what reading it may take ([`cost`]), and as
//! what it takes once it has been read. It waits where there is no room, and HTTP/2's flow control stops its agent. Small
//! batches, as agents send them, have room of their own: large ones do not make them wait.
//!
//! All together is 192 MiB, beside the windows, whose bound is `memory_limit`.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::net::receive::Receiving;
use crate::rpc::results::{MAX_SAMPLES, Received};

/// Bytes that have arrived and are not read yet.
const RECEIVED: usize = 48 << 20;
/// Of these, what only short messages may take.
const RESERVE: usize = 8 << 20;
/// Batches of at most [`SMALL_BATCH`] bytes.
const SMALL: usize = 32 << 20;
const SMALL_BATCH: usize = 256 << 10;
/// Larger ones. The largest takes all of it, and some more: it is read alone.
const LARGE: usize = 112 << 20;
/// What permits count, in bytes.
const UNIT: usize = 1 << 10;
/// What a trace may take while it is read, and the least bytes of one.
const TRACE: usize = 192;
const LEAST_TRACE: usize = 2;
const MOST_TRACES: usize = crate::rpc::results::MAX_TRACES;

/// The most bytes that reading a batch of `encoded` bytes takes: the bytes themselves; its samples, of which each takes 24
/// bytes and at least 3 encoded ones, as do its reports; the columns of one report; its traces.
fn cost(encoded: usize) -> usize {
    let samples = encoded.saturating_mul(8);
    let columns = samples.min(3 * 8 * MAX_SAMPLES);
    let traces = (encoded / LEAST_TRACE).min(MOST_TRACES) * TRACE;
    encoded + samples + columns + traces
}

/// What batches may take; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    pub(super) receiving: Receiving,
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            receiving: Receiving::new(RECEIVED - RESERVE, RESERVE),
            small: Arc::new(Semaphore::new(SMALL / UNIT)),
            large: Arc::new(Semaphore::new(LARGE / UNIT)),
        }
    }
}

impl Memory {
    /// Room to read a batch of so many bytes; waits for it.
    pub(super) async fn room(&self, encoded: usize) -> Room {
        let (semaphore, most) = if encoded <= SMALL_BATCH {
            (&self.small, SMALL)
        } else {
            (&self.large, LARGE)
        };
        let permits = units(cost(encoded).min(most));
        // The semaphores are never closed.
        Room(Arc::clone(semaphore).acquire_many_owned(permits).await.ok())
    }

    /// Bytes that batches take up.
    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        let free = self.small.available_permits() + self.large.available_permits();
        (SMALL + LARGE).saturating_sub(free * UNIT) + self.receiving.used()
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

/// Room for one batch, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Room(Option<OwnedSemaphorePermit>);

impl Room {
    /// Gives back what the batch, which has been read, does not take.
    pub(super) fn shrink(&mut self, received: &Received, encoded: usize) {
        let Some(permit) = &mut self.0 else {
            return;
        };
        let kept = units(received.batch.bytes() + encoded) as usize;
        let surplus = permit.num_permits().saturating_sub(kept);
        drop(permit.split(surplus));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn large_batches_wait_for_each_other_and_small_ones_do_not() {
        let memory = Memory::default();
        let first = memory.room(7 << 20).await;
        assert!(memory.used() > 63 << 20, "{}", memory.used());
        // The largest message takes everything, and comes when the first has gone.
        let mut largest = Box::pin(memory.room(16 << 20));
        let soon = std::time::Duration::from_millis(20);
        assert!(tokio::time::timeout(soon, &mut largest).await.is_err());
        let small = memory.room(30 << 10).await;
        drop(first);
        let largest = largest.await;
        assert!(memory.used() <= RECEIVED + SMALL + LARGE);
        drop((small, largest));
        assert_eq!(memory.used(), 0);
    }

    #[tokio::test]
    async fn what_reading_does_not_need_any_more_is_given_back() {
        let memory = Memory::default();
        let mut room = memory.room(100_000).await;
        let before = memory.used();
        let empty = crate::rpc::v1::ResultBatch {
            sequence: 1,
            ..Default::default()
        };
        let bytes = prost::Message::encode_to_vec(&empty);
        let received = Received::read(&bytes, &crate::rpc::results::Ends::default());
        room.shrink(&received.expect("a batch"), 100_000);
        let after = memory.used();
        assert!(
            after < before / 10 && after >= 100_000,
            "{before}, then {after}"
        );
    }
}
