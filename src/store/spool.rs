//! The agent's spool: result batches that wait for the analyzer's acknowledgement, bounded, on disk.
//!
//! A batch is an opaque payload with a sequence number from 1 without gaps; the number never comes back, not even after
//! a restart. When the limit is reached the oldest batches go. The spool has a random identity, made with the file, so
//! that a receiver does not mistake the batches of a fresh spool for ones that it has.

pub use super::sqlite::spool::Spool;

/// A stored batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its number.
    pub sequence: u64,
    /// As it was appended.
    pub payload: Vec<u8>,
}

/// What appending has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The new batch's number.
    pub sequence: u64,
    /// Oldest batches that had to go.
    pub dropped: u64,
    /// Batches that wait now.
    pub waiting: u64,
}
