//! What only a move of everything from one analyzer's store to another asks for ([`transfer`](super::transfer)).

use super::StoreError;
use super::history::Picture;
use crate::analysis::alerts::DeliveryState;
use crate::time::WallTime;

/// What receivers of alerts were told, and how far incidents are numbered.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AlertLedger {
    /// The largest id that an incident ever had; 0 for none.
    pub last_incident: u64,
    /// Receivers of alerts, each with the time since which it is known.
    pub receivers: Vec<(String, WallTime)>,
    /// For receiver and incident the state that was delivered last.
    pub deliveries: Vec<(String, u64, DeliveryState)>,
}

/// Rows, whether they can be read or not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rows {
    /// Of incidents.
    pub incidents: u64,
    /// Of states that were delivered to receivers.
    pub deliveries: u64,
    /// Of hosts that were there.
    pub hosts: u64,
    /// Of pictures of the past.
    pub pictures: u64,
    /// Of batches.
    pub batches: u64,
}

/// All that an analyzer's store holds beyond what its other traits give and take. Every call can be repeated after an error.
#[tonic::async_trait]
pub trait Contents: Send + Sync {
    /// How many rows there are.
    ///
    /// # Errors
    /// The store cannot be read.
    async fn rows(&self) -> Result<Rows, StoreError>;

    /// What receivers were told, in the order of their names. A state that cannot be read is left out: it is delivered again.
    ///
    /// # Errors
    /// The store cannot be read.
    async fn alert_ledger(&self) -> Result<AlertLedger, StoreError>;

    /// Adds what receivers were told, and does not give incidents smaller ids than it says; in one transaction.
    ///
    /// # Errors
    /// Nothing was stored: no space, locked, damaged.
    async fn add_alert_ledger(&self, ledger: AlertLedger) -> Result<(), StoreError>;

    /// At most `limit` pictures later than `after`, the oldest first.
    ///
    /// # Errors
    /// The store cannot be read.
    async fn pictures(&self, after: WallTime, limit: u32) -> Result<Vec<Picture>, StoreError>;
}
