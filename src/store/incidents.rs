//! The analyzer's incidents: the open ones, so that a restart goes on with them, and those of the past for as long as
//! they are wanted.

pub mod sqlite;

use super::sqlite::StoreError;
use crate::analysis::alerts::Told;
use crate::analysis::incident::Incident;
use crate::time::WallTime;

/// Which incidents are asked for, the newest first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Query {
    /// Only open (`true`) or closed ones.
    pub open: Option<bool>,
    /// Only those with a smaller id: the next page.
    pub before: Option<u64>,
    /// At most so many.
    pub limit: u32,
}

/// Where incidents are kept. Every call can be repeated after an error.
#[tonic::async_trait]
pub trait Incidents: Send + Sync {
    /// Stores incidents as they are now, new or not, in one transaction; durable when it returns.
    ///
    /// # Errors
    /// Nothing was stored: no space, locked, damaged.
    async fn put(&self, incidents: Vec<Incident>) -> Result<(), StoreError>;

    /// The largest id that was ever used; 0 for none.
    ///
    /// # Errors
    /// The store cannot be read.
    async fn last_id(&self) -> Result<u64, StoreError>;

    /// Incidents that match, the newest first.
    ///
    /// # Errors
    /// The store cannot be read.
    async fn read(&self, query: Query) -> Result<Vec<Incident>, StoreError>;

    /// Incidents that were open at a time, the newest first, at most `limit`.
    ///
    /// # Errors
    /// The store cannot be read.
    async fn open_at(&self, time: WallTime, limit: u32) -> Result<Vec<Incident>, StoreError>;

    /// Forgets incidents that were closed before `closed`. Returns how many went.
    ///
    /// # Errors
    /// The store cannot be written; nothing is forgotten.
    async fn prune(&self, closed: WallTime) -> Result<usize, StoreError>;

    /// What a receiver of alerts still has to be told or reminded of: open incidents, and closed ones whose end it does not
    /// know, each with what it was told last; the oldest first, of the newest `limit`. A receiver that is asked for the
    /// first time is told nothing of incidents that were closed before `now`.
    ///
    /// # Errors
    /// The store cannot be read, or not written at a receiver's first time.
    async fn untold(
        &self,
        receiver: &str,
        now: WallTime,
        limit: u32,
    ) -> Result<Vec<(Incident, Option<Told>)>, StoreError>;

    /// Keeps what a receiver was told of incidents; durable when it returns.
    ///
    /// # Errors
    /// Nothing was stored.
    async fn tell(&self, receiver: &str, told: Vec<(u64, Told)>) -> Result<(), StoreError>;
}
