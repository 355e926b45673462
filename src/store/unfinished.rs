//! A note beside a store into which [`transfer`](super::transfer) copies: until it is taken away, no program works with what may be a
//! part. Beside an SQLite file it is a file, in a database a row.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::postgres::fence::Role;
use super::postgres::notes;
use super::{Location, StoreError};

fn note_beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".copying");
    name.into()
}

fn unavailable(file: &Path, source: std::io::Error) -> StoreError {
    StoreError::Unavailable {
        store: file.display().to_string(),
        source: source.into(),
    }
}

/// Where a copy comes from that has not come to its end.
///
/// # Errors
/// The note cannot be read.
pub(super) async fn source(location: &Location, role: Role) -> Result<Option<String>, StoreError> {
    match location {
        Location::Memory => Ok(None),
        Location::Postgres(server) => notes::copied_from(server, role).await,
        Location::File(file) => {
            let note = note_beside(file);
            match tokio::fs::read_to_string(&note).await {
                Ok(source) => Ok(Some(source)),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                Err(error) => Err(unavailable(&note, error)),
            }
        }
    }
}

/// Notes that a copy from `source` begins.
///
/// # Errors
/// The note cannot be written.
pub(super) async fn begin(location: &Location, role: Role, source: &str) -> Result<(), StoreError> {
    match location {
        Location::Memory => Ok(()),
        Location::Postgres(server) => notes::note_copy(server, role, Some(source)).await,
        Location::File(file) => {
            let note = note_beside(file);
            let written = tokio::fs::write(&note, source).await;
            written.map_err(|error| unavailable(&note, error))
        }
    }
}

/// Notes that the copy is complete.
///
/// # Errors
/// The note cannot be removed.
pub(super) async fn end(location: &Location, role: Role) -> Result<(), StoreError> {
    match location {
        Location::Memory => Ok(()),
        Location::Postgres(server) => notes::note_copy(server, role, None).await,
        Location::File(file) => {
            let note = note_beside(file);
            let removed = tokio::fs::remove_file(&note).await;
            removed.map_err(|error| unavailable(&note, error))
        }
    }
}

/// Refuses a store that holds a part.
///
/// # Errors
/// [`StoreError::Unfinished`]; the note cannot be read.
pub(super) async fn refuse(location: &Location, role: Role) -> Result<(), StoreError> {
    match source(location, role).await? {
        None => Ok(()),
        Some(source_store) => Err(StoreError::Unfinished {
            store: location.name(),
            source_store,
        }),
    }
}
