//! Opening a store: the one place that chooses the engine by the location.

use std::sync::Arc;

use super::history::History;
use super::incidents::Incidents;
use super::journal::Journal;
use super::registry::Registry;
use super::sqlite::journal::SqliteJournal;
use super::sqlite::registry::SqliteRegistry;
use super::{Location, StoreError};

/// Opens the registry, made if missing, and brings its layout up to date.
///
/// # Errors
/// The [`StoreError`] says why it cannot be used.
pub async fn registry(location: &Location) -> Result<Arc<dyn Registry>, StoreError> {
    match location {
        Location::File(_) | Location::Memory => Ok(Arc::new(SqliteRegistry::open(location).await?)),
    }
}

/// What the analyzer keeps, in one database. Cheap to clone; clones are the same stores.
#[derive(Clone)]
pub struct Stores {
    /// Acknowledged batches.
    pub journal: Arc<dyn Journal>,
    /// Incidents, and what receivers of alerts were told of them.
    pub incidents: Arc<dyn Incidents>,
    /// Pictures of the past.
    pub history: Arc<dyn History>,
}

impl Stores {
    /// Opens the database, made if missing, and brings its layout up to date.
    ///
    /// # Errors
    /// Any [`StoreError`] but [`StoreError::Full`] and [`StoreError::Closed`] says why it cannot be used.
    pub async fn open(location: &Location) -> Result<Self, StoreError> {
        match location {
            Location::File(_) | Location::Memory => {
                let journal = SqliteJournal::open(location).await?;
                Ok(Self {
                    incidents: Arc::new(journal.incidents()),
                    history: Arc::new(journal.history()),
                    journal: Arc::new(journal),
                })
            }
        }
    }
}
