//! The analyzer's incidents: the open ones, so that a restart goes on with them, and those of the past for as long as
//! they are wanted.

use super::StoreError;
use crate::analysis::alerts::DeliveryState;
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

    /// The incidents that a receiver of alerts may still need: open ones, and closed ones whose end was not delivered to
    /// it. Each comes with the state that was delivered last. Of the newest `limit`, the oldest first. When a receiver is
    /// new, incidents that were closed before `now` are left out.
    ///
    /// # Errors
    /// The store cannot be read, or not written at a receiver's first time.
    async fn undelivered(
        &self,
        receiver: &str,
        now: WallTime,
        limit: u32,
    ) -> Result<Vec<(Incident, Option<DeliveryState>)>, StoreError>;

    /// Stores which states of incidents were delivered to a receiver; durable when it returns.
    ///
    /// # Errors
    /// Nothing was stored.
    async fn record_delivered(
        &self,
        receiver: &str,
        delivered: Vec<(u64, DeliveryState)>,
    ) -> Result<(), StoreError>;
}
