//! Opening a store: the one place that chooses the engine by the location.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use super::analyzers::AnalyzerSeen;
use super::contents::Contents;
use super::damage::Damage;
use super::fleet::Hosts;
use super::history::History;
use super::incidents::Incidents;
use super::journal::Journal;
use super::postgres::analyzers as postgres_analyzers;
use super::postgres::fence::Role;
use super::postgres::journal::PostgresJournal;
use super::postgres::notes;
use super::postgres::registry::PostgresRegistry;
use super::registry::Registry;
use super::server::Server;
use super::shared::ControllerSeen;
use super::sqlite::journal::SqliteJournal;
use super::sqlite::registry::SqliteRegistry;
use super::tenure::Tenure;
use super::trends::Trends;
use super::{Location, StoreError, unfinished};

/// Opens the registry, made if missing, and brings its layout up to date. A disk that fails (full, read-only, I/O errors) is no
/// error: the registry is tried again with each call, whose errors say so. A server must be reached at the start; one that goes away
/// later is tried again with each call.
///
/// # Errors
/// The [`StoreError`] says why it cannot be used: what is configured is not possible.
pub async fn registry(location: &Location) -> Result<Arc<dyn Registry>, StoreError> {
    let registry: Arc<dyn Registry> = match location {
        Location::File(_) | Location::Memory => open_file(location).await?,
        Location::Postgres(server) => Arc::new(PostgresRegistry::open(server).await?),
    };
    if let Err(error) = unfinished::refuse(location, Role::Controller).await {
        registry.tenure().give_up().await;
        return Err(error);
    }
    Ok(registry)
}

/// Asks the controller that works with this database, now or later, for the next key.
///
/// # Errors
/// The layout is of another version, or another fleet's; the server cannot be reached or refuses.
pub async fn want_key(server: &Server) -> Result<(), StoreError> {
    notes::want_key(server).await
}

/// The controllers that work with this database, or did a moment ago, in the order in which they joined.
///
/// # Errors
/// The layout is of another version, or another fleet's; the server cannot be reached or refuses.
pub async fn controllers(server: &Server) -> Result<Vec<ControllerSeen>, StoreError> {
    notes::controllers(server).await
}

/// The analyzers that share this database, or did a moment ago, in the order in which they joined.
///
/// # Errors
/// The layout is of another version, or another fleet's; the server cannot be reached or refuses.
pub async fn analyzers(server: &Server) -> Result<Vec<AnalyzerSeen>, StoreError> {
    postgres_analyzers::seen(server).await
}

/// The same as [`registry`] for a program that works with it alone, also where it is a part of a copy.
///
/// # Errors
/// [`StoreError::Taken`]: a controller works with it.
pub(super) async fn registry_alone(location: &Location) -> Result<Arc<dyn Registry>, StoreError> {
    match location {
        Location::File(_) | Location::Memory => open_file(location).await,
        Location::Postgres(server) => Ok(Arc::new(PostgresRegistry::open_alone(server).await?)),
    }
}

async fn open_file(location: &Location) -> Result<Arc<dyn Registry>, StoreError> {
    let (registry, failure) = SqliteRegistry::open_later(location).await?;
    match failure {
        Some(error) if !is_of_disk(&error, location) => Err(error),
        _ => Ok(Arc::new(registry)),
    }
}

/// Whether the disk fails, rather than that the configuration names a place that cannot be used.
fn is_of_disk(error: &StoreError, location: &Location) -> bool {
    let is_failure = |error: &io::Error| {
        matches!(
            error.kind(),
            ErrorKind::ReadOnlyFilesystem | ErrorKind::StorageFull | ErrorKind::QuotaExceeded
        ) || error.raw_os_error() == Some(libc::EIO)
    };
    let Location::File(path) = location else {
        return false;
    };
    match error {
        StoreError::Full { .. } => true,
        StoreError::Unavailable { source, .. } if source.is::<io::Error>() => {
            source.downcast_ref().is_some_and(is_failure)
        }
        StoreError::Unavailable { .. } | StoreError::ReadOnly { .. } => {
            // SQLite tells a folder without rights from a failing disk in the same words; the system does not.
            match File::options().append(true).create(true).open(path) {
                Ok(_) => matches!(error, StoreError::Unavailable { .. }),
                Err(error) => is_failure(&error),
            }
        }
        _ => false,
    }
}

/// What the analyzer keeps, in one database. Cheap to clone; clones are the same stores.
#[derive(Clone)]
pub struct Stores {
    /// Acknowledged batches.
    pub journal: Arc<dyn Journal>,
    /// Incidents, and what receivers of alerts were told of them.
    pub incidents: Arc<dyn Incidents>,
    /// Hosts and RNICs that were there.
    pub hosts: Arc<dyn Hosts>,
    /// Pictures of the past.
    pub history: Arc<dyn History>,
    /// All of it, for a move to another store.
    pub contents: Arc<dyn Contents>,
    /// Loss and round trips over days.
    pub trends: Arc<dyn Trends>,
    /// What was damaged in the database.
    pub damage: Damage,
    /// The right to change them, which may be lost where other programs reach the store.
    pub tenure: Tenure,
}

impl Stores {
    /// Opens the database, made if missing, and brings its layout up to date.
    ///
    /// # Errors
    /// Any [`StoreError`] but [`StoreError::Full`] and [`StoreError::Closed`] says why it cannot be used.
    pub async fn open(location: &Location) -> Result<Self, StoreError> {
        let stores = Self::open_any(location).await?;
        if let Err(error) = unfinished::refuse(location, Role::Analyzer).await {
            stores.tenure.give_up().await;
            return Err(error);
        }
        Ok(stores)
    }

    /// In a database whose lease is held.
    pub(super) fn on(journal: PostgresJournal) -> Self {
        Self {
            incidents: Arc::new(journal.incidents()),
            hosts: Arc::new(journal.hosts()),
            history: Arc::new(journal.history()),
            contents: Arc::new(journal.contents()),
            trends: Arc::new(journal.trends()),
            damage: journal.damage(),
            tenure: journal.tenure(),
            journal: Arc::new(journal),
        }
    }

    /// The same, also where it is a part of a copy.
    pub(super) async fn open_any(location: &Location) -> Result<Self, StoreError> {
        match location {
            Location::File(_) | Location::Memory => {
                let journal = SqliteJournal::open(location).await?;
                Ok(Self {
                    incidents: Arc::new(journal.incidents()),
                    hosts: Arc::new(journal.hosts()),
                    history: Arc::new(journal.history()),
                    contents: Arc::new(journal.contents()),
                    trends: Arc::new(journal.trends()),
                    damage: journal.damage(),
                    tenure: Tenure::default(),
                    journal: Arc::new(journal),
                })
            }
            Location::Postgres(server) => {
                let journal = PostgresJournal::open(server).await?;
                Ok(Self::on(journal))
            }
        }
    }
}
