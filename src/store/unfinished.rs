//! A note beside a store into which [`transfer`](super::transfer) copies: until it is taken away, no program works with what may be a
//! part. Beside an SQLite file it is a file, in a database a row.

use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use super::postgres::fence::Role;
use super::postgres::notes;
use super::{Location, StoreError};

fn note_beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".copying");
    name.into()
}

fn unavailable(file: &Path, source: io::Error) -> StoreError {
    StoreError::Unavailable {
        store: file.display().to_string(),
        source: source.into(),
    }
}

/// Changes the note, and returns when a crash of the machine does not undo that.
async fn on_disk(
    note: PathBuf,
    change: impl FnOnce(&Path) -> io::Result<()> + Send + 'static,
) -> Result<(), StoreError> {
    let path = note.clone();
    let changing = tokio::task::spawn_blocking(move || {
        change(&path)?;
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    });
    let changed = changing.await.map_err(io::Error::other);
    changed.flatten().map_err(|error| unavailable(&note, error))
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
            let text = source.to_owned();
            on_disk(note, move |note| {
                let mut file = File::create(note)?;
                file.write_all(text.as_bytes())?;
                file.sync_all()
            })
            .await
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
            on_disk(note, |note| std::fs::remove_file(note)).await
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
