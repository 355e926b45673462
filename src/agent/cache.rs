//! The last pinglist on disk, for a start while the controller is away.

use std::io;
use std::path::{Path, PathBuf};

use prost::Message as _;

use crate::rpc::v1;
use crate::store::quarantine::set_aside;

/// The file in the state folder.
const FILE: &str = "pinglist.pb";

/// Where the pinglist is kept.
#[derive(Debug, Clone)]
pub(crate) struct PinglistCache {
    path: PathBuf,
}

impl PinglistCache {
    /// In this folder, which is made when something is stored.
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            path: folder.join(FILE),
        }
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces what is stored, as one step.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) async fn store(&self, answer: &v1::GetPinglistResponse) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            tokio::fs::create_dir_all(folder).await?;
        }
        let fresh = self.path.with_extension("new");
        tokio::fs::write(&fresh, answer.encode_to_vec()).await?;
        tokio::fs::rename(&fresh, &self.path).await
    }

    /// What is stored; `None` when there is nothing yet.
    ///
    /// # Errors
    /// Those of the file system; `InvalidData` for a file that is no pinglist.
    pub(crate) async fn load(&self) -> io::Result<Option<v1::GetPinglistResponse>> {
        match tokio::fs::read(&self.path).await {
            Ok(bytes) => v1::GetPinglistResponse::decode(&*bytes)
                .map(Some)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Renames a damaged file and gives its new name.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) async fn set_aside(&self) -> io::Result<PathBuf> {
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || set_aside(&path))
            .await
            .map_err(io::Error::other)?
    }
}
