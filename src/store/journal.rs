//! The analyzer's journal: batches that were acknowledged, for as long as the windows need them, and how far each
//! agent's spool has been taken, for much longer.
//!
//! A batch and its watermark are stored together or not at all, so that after a restart nothing is lost that was
//! acknowledged and nothing is counted twice. One [`Journal::append`] stores the batches of many agents: its cost is one
//! flush to the disk.

use bytes::Bytes;

use super::StoreError;
use crate::analysis::admission::Watermark;
use crate::analysis::report::Sender;
use crate::time::WallTime;

/// One batch to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Whose it is.
    pub sender: Sender,
    /// Its number in the spool.
    pub sequence: u64,
    /// The end of its interval: batches are forgotten by it.
    pub end: WallTime,
    /// Its encoded form, as the writer of the journal likes it.
    pub payload: Bytes,
}

/// One batch read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Grows with each batch stored; where the next page begins.
    pub position: i64,
    /// The batch.
    pub record: Record,
}

/// Where batches are kept until no window needs them. Every call can be repeated after an error.
#[tonic::async_trait]
pub trait Journal: Send + Sync {
    /// How far each spool has been taken.
    ///
    /// # Errors
    /// The store cannot be read.
    async fn watermarks(&self) -> Result<Vec<Watermark>, StoreError>;

    /// Stores batches and watermarks in one transaction; durable when it returns.
    ///
    /// # Errors
    /// Nothing was stored: no space, locked, damaged.
    async fn append(&self, records: Vec<Record>, marks: Vec<Watermark>) -> Result<(), StoreError>;

    /// At most `limit` batches behind `position` (0 for the first) whose interval ended at `since` or later, in the order
    /// in which they were stored. None follows the one with which they have `bytes` bytes or more.
    ///
    /// # Errors
    /// The store cannot be read.
    async fn read(
        &self,
        since: WallTime,
        position: i64,
        limit: u32,
        bytes: usize,
    ) -> Result<Vec<Stored>, StoreError>;

    /// The position of the newest batch that was ever stored; 0 for none.
    ///
    /// # Errors
    /// The store cannot be read.
    async fn newest(&self) -> Result<i64, StoreError>;

    /// Forgets batches whose interval ended before `batches`, and watermarks that have not moved since `marks`. Returns
    /// how many batches went.
    ///
    /// # Errors
    /// The store cannot be written; nothing is forgotten.
    async fn prune(&self, batches: WallTime, marks: WallTime) -> Result<usize, StoreError>;

    /// Forgets the watermarks of these spools, of which no batch is stored any more.
    ///
    /// # Errors
    /// The store cannot be written; nothing is forgotten.
    async fn forget(&self, spools: Vec<Sender>) -> Result<(), StoreError>;
}
