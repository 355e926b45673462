//! Hosts and RNICs that were there, so that an analyzer that starts again misses them.

use std::collections::BTreeMap;

use super::StoreError;
use crate::analysis::fleet::record::HostRecord;
use crate::id::HostName;

/// Where they are kept. Every call can be repeated after an error.
#[tonic::async_trait]
pub trait Hosts: Send + Sync {
    /// All of them, by name.
    ///
    /// # Errors
    /// The store cannot be read.
    async fn load(&self) -> Result<Vec<HostRecord>, StoreError>;

    /// Stores hosts as they are now, new or not, and forgets those without a record, in one transaction; durable when it returns.
    ///
    /// # Errors
    /// Nothing was stored: no space, locked, damaged.
    async fn put(&self, changes: BTreeMap<HostName, Option<HostRecord>>) -> Result<(), StoreError>;
}
