//! How `rpingmesh-controller rotate-key` reaches the controller that runs: by a file beside its registry. Whoever may write into that
//! folder could also replace the registry.

use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::core::{Command, Handle};
use crate::store::Location;

/// How often it is looked for.
const LOOK: Duration = Duration::from_secs(1);

/// Where a request for the next key is left; `None` for a registry that is no file.
fn request_file(store: &Location) -> Option<PathBuf> {
    match store {
        Location::File(path) => {
            let mut name = path.clone().into_os_string();
            name.push(".rotate-key");
            Some(name.into())
        }
        Location::Memory | Location::Postgres(_) => None,
    }
}

/// Asks the controller with this registry, which runs or starts later, for the next key.
///
/// # Errors
/// Those of the file system; a registry that is no file.
pub fn request(store: &Location) -> io::Result<PathBuf> {
    let why = match store {
        Location::Postgres(_) => {
            "the registry is in a database, and requests are passed on by a file beside an SQLite registry alone: set a shorter \
             cluster_key.rotation for a while"
        }
        _ => "the registry is in memory: restart the controller instead, it makes a new key",
    };
    let file =
        request_file(store).ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, why))?;
    // Also where one waits already.
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&file)?;
    Ok(file)
}

/// Passes requests on until `stop`.
pub(super) async fn watch(store: Location, core: Handle, stop: CancellationToken) {
    let Some(file) = request_file(&store) else {
        return stop.cancelled().await;
    };
    let mut reported = None;
    while stop
        .run_until_cancelled(tokio::time::sleep(LOOK))
        .await
        .is_some()
    {
        match taken(&file).await {
            Ok(true) => {
                if core.send(Command::RotateKey).await.is_err() {
                    return stop.cancelled().await;
                }
            }
            Ok(false) => reported = None,
            Err(error) => {
                let kind = Some(error.kind());
                if reported != kind {
                    tracing::warn!(file = %file.display(), %error, "a request for the next key cannot be taken");
                }
                reported = kind;
            }
        }
    }
}

/// Whether there was a request; it is removed, so that it counts once.
async fn taken(file: &Path) -> io::Result<bool> {
    match tokio::fs::remove_file(file).await {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
