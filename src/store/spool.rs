//! The agent's spool: result batches that wait for the analyzer's acknowledgement, bounded.
//!
//! A batch is an opaque payload with a sequence number from 1 without gaps. When the limit is reached the oldest batches go.
//! The numbers are those of a random identity, so that a receiver does not mistake the batches of a fresh spool for ones that it
//! has. Each run of the agent has an identity of its own: no number is given a second time, whatever became of the files.
//!
//! **Where batches are.** Each batch is compressed and appended once to a file (`segment`), without waiting for the disk: it
//! survives the end of the process at once. While batches are acknowledged as they come, their file is deleted before or
//! soon after the kernel writes it. When the analyzer is away ([`AWAY`]), and at the end, the file is forced to the disk.
//! While the disk takes nothing (full, read-only, missing), batches are kept in memory, at most [`MEMORY`] bytes of them,
//! and go to the disk when it works again. [`Status::trouble`] says so.
//!
//! **Identities.** Batches of earlier runs are uploaded first, each under its own identity. Files whose receiver has a larger number
//! than they can have sent were replaced by an older copy ([`Spool::begun`]): what they have and the receiver has, too, is not
//! sent again. Where that happens to the identity of this run, it gets another one, and what was not sent gets new numbers.

mod codec;
mod disk;
mod epoch;
mod inner;
mod kept;
mod segment;
mod types;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use self::codec::LONGEST_PAYLOAD;
use self::inner::{Inner, Seen};
pub use self::types::{AWAY, Appended, MEMORY, Renumber, Status, Stored};
use super::{Location, StoreError};

/// Batches that wait for acknowledgement. Cheap to clone; clones are the same spool.
#[derive(Debug, Clone)]
pub struct Spool {
    inner: Arc<Mutex<Inner>>,
    /// Who asks must not wait for the disk.
    seen: Arc<Mutex<Seen>>,
    store: String,
}

impl Spool {
    /// Opens the spool in a folder, which is made if missing. An unusable disk is no error: the batches are kept in memory then.
    ///
    /// `limit` bounds the compressed batches in bytes; the files are a little larger. The newest batch is always kept.
    ///
    /// # Errors
    /// [`StoreError::Busy`]: another process has it.
    pub async fn open(location: &Location, limit: u64) -> Result<Self, StoreError> {
        let (location, store) = (location.clone(), location.name());
        let opening = tokio::task::spawn_blocking(move || Inner::open(location, limit));
        let inner = opening.await.map_err(|_| StoreError::Closed {
            store: store.clone(),
        })??;
        Ok(Self {
            seen: Arc::new(Mutex::new(inner.seen())),
            inner: Arc::new(Mutex::new(inner)),
            store,
        })
    }

    /// The identity that is being uploaded.
    pub fn id(&self) -> u64 {
        lock(&self.seen).uploading
    }

    /// How it is now.
    pub fn status(&self) -> Status {
        lock(&self.seen).status.clone()
    }

    /// Appends the batch that `encode` makes of its sequence number, and drops the oldest ones beyond the limit.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn append<F>(&self, encode: F) -> Result<Appended, StoreError>
    where
        F: FnOnce(u64) -> Vec<u8> + Send + 'static,
    {
        self.call(move |inner| inner.append(encode)).await
    }

    /// Batches of the identity that is being uploaded behind `after`, the oldest first: at least one if there is any, and then
    /// as many as fit `bytes`. A batch that cannot be read is counted, logged and passed over.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn read(&self, after: u64, bytes: usize) -> Result<Vec<Stored>, StoreError> {
        self.call(move |inner| inner.read(after, bytes)).await
    }

    /// Forgets the batches up to and including `sequence` of the identity that is being uploaded; returns how many still
    /// wait, those of other identities too.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn acknowledge(&self, sequence: u64) -> Result<u64, StoreError> {
        self.call(move |inner| {
            inner.acknowledge(sequence);
            inner.waiting()
        })
        .await
    }

    /// How many batches wait.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn waiting(&self) -> Result<u64, StoreError> {
        self.call(|inner| inner.waiting()).await
    }

    /// Chooses the identity to upload, the oldest one of which batches wait, and returns it.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn begin(&self) -> Result<u64, StoreError> {
        self.call(|inner| {
            inner.uploading = inner.due();
            inner.uploading
        })
        .await
    }

    /// Whether batches wait of another identity than the one that is being uploaded, and none of this one.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn is_due_elsewhere(&self) -> Result<bool, StoreError> {
        self.call(|inner| inner.due() != inner.uploading).await
    }

    /// Takes the receiver's mark at the beginning of an upload: it has everything up to `mark`. Gives whether the upload can go
    /// on. It cannot when the mark is larger than what this spool can have sent, because the files were replaced by an older
    /// copy: then batches that were never sent have got numbers that the receiver would take for old ones, and they have been
    /// moved to a new identity.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn begun(&self, mark: u64, renumber: Renumber) -> Result<bool, StoreError> {
        self.call(move |inner| inner.begun(mark, renumber)).await
    }

    /// Gives all batches behind `after` of the identity that is being uploaded new numbers under a new identity: the receiver
    /// refuses their numbers.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn renew(&self, after: u64, renumber: Renumber) -> Result<(), StoreError> {
        self.call(move |inner| {
            inner.renew(after, renumber);
        })
        .await
    }

    /// Removes a batch that nobody can read. Counted.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn pass_over(&self, sequence: u64) -> Result<(), StoreError> {
        self.call(move |inner| inner.pass_over(sequence)).await
    }

    /// Keeps batches in memory for so long after they were acknowledged, at most as many bytes as the spool may have; `None`: none.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn keep_acknowledged(&self, age: Option<Duration>) -> Result<(), StoreError> {
        self.call(move |inner| inner.kept.keep(age)).await
    }

    /// The newest acknowledged batch with a smaller number, of the identity that is being uploaded, where one is kept.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn kept_below(&self, before: u64) -> Result<Option<Stored>, StoreError> {
        self.call(move |inner| inner.kept_below(before)).await
    }

    /// Forgets an acknowledged batch that nobody can read.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn forget_kept(&self, sequence: u64) -> Result<(), StoreError> {
        self.call(move |inner| inner.kept.forget(sequence)).await
    }

    /// On a thread that may wait for the disk.
    async fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Inner) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let (inner, seen) = (Arc::clone(&self.inner), Arc::clone(&self.seen));
        let done = tokio::task::spawn_blocking(move || {
            let mut inner = lock(&inner);
            let result = job(&mut inner);
            *lock(&seen) = inner.seen();
            result
        });
        done.await.map_err(|_| StoreError::Closed {
            store: self.store.clone(),
        })
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
