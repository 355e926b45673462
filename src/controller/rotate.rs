//! How `rpingmesh-controller rotate-key` reaches the controller that runs: by a file beside an SQLite registry, by a row in a database.
//! Whoever may write there could also replace the registry.

use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::core::{Command, Handle};
use crate::error::describe;
use crate::store::registry::Registry;
use crate::store::{Location, StoreError, open};

/// How often it is looked for.
const LOOK: Duration = Duration::from_secs(1);

/// Why a request cannot be left.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The registry is gone with the controller.
    #[error("the registry is in memory: restart the controller instead, it makes a new key")]
    Memory,
    /// The file system refuses.
    #[error("{file}")]
    File {
        /// The request's file.
        file: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The database refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where a request for the next key is left beside a registry in a file.
fn request_file(path: &Path) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(".rotate-key");
    name.into()
}

/// Asks the controller with this registry, which runs or starts later, for the next key. Gives the place of the request.
///
/// # Errors
/// [`RequestError`].
pub async fn request(store: &Location) -> Result<String, RequestError> {
    let path = match store {
        Location::Memory => return Err(RequestError::Memory),
        Location::Postgres(server) => {
            open::want_key(server).await?;
            return Ok("in its database".to_owned());
        }
        Location::File(path) => request_file(path),
    };
    let file = path.display().to_string();
    // Also where one waits already.
    let made = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path);
    match made {
        Ok(_) => Ok(file),
        Err(source) => Err(RequestError::File { file, source }),
    }
}

/// Passes requests on until `stop`.
pub(super) async fn watch(
    store: Location,
    registry: Arc<dyn Registry>,
    core: Handle,
    stop: CancellationToken,
) {
    let file = match &store {
        Location::Memory => return stop.cancelled().await,
        Location::File(path) => Some(request_file(path)),
        Location::Postgres(_) => None,
    };
    let mut reported = None;
    while stop
        .run_until_cancelled(tokio::time::sleep(LOOK))
        .await
        .is_some()
    {
        let taken = match &file {
            Some(file) => taken(file).await,
            None => match stop.run_until_cancelled(registry.take_key_request()).await {
                Some(taken) => taken.map_err(|error| describe(&error)),
                None => return,
            },
        };
        match taken {
            Ok(true) => {
                if core.send(Command::RotateKey).await.is_err() {
                    return stop.cancelled().await;
                }
            }
            Ok(false) => reported = None,
            Err(error) => {
                if reported.as_ref() != Some(&error) {
                    tracing::warn!(error, "a request for the next key cannot be taken");
                }
                reported = Some(error);
            }
        }
    }
}

/// Whether there was a request; it is removed, so that it counts once.
async fn taken(file: &Path) -> Result<bool, String> {
    match tokio::fs::remove_file(file).await {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(format!("{}: {error}", file.display())),
    }
}
