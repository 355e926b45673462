//! The controller's registry of agents and their RNICs, kept over restarts.
//!
//! [`Registry`] says what an engine must do in terms of whole announcements; nothing of SQL shows through, so that
//! another engine fits behind it. An engine that several controllers share enforces by itself that a GID has one owner:
//! [`Registry::put`] is the place where two controllers that decide at the same time are told apart.

mod sqlite;

use futures_util::future::BoxFuture;

use crate::id::{AgentId, Gid};
use crate::store::sqlite::StoreError;
use crate::time::WallTime;
use crate::topology::Announcement;

pub use sqlite::SqliteRegistry;

/// Why the registry could not be read or changed. Nothing is changed when a call fails.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A GID belongs to another agent, which was not named as superseded.
    #[error("GID {gid} is stored for agent `{owner}`")]
    GidTaken {
        /// The GID.
        gid: Gid,
        /// Whose it is.
        owner: AgentId,
    },
}

/// Durable storage of announcements. A call that has returned `Ok` has stored its change.
pub trait Registry: Send + Sync + std::fmt::Debug {
    /// All agents with their RNICs, in the order of their names.
    ///
    /// # Errors
    /// [`RegistryError::Store`].
    fn load(&self) -> BoxFuture<'_, Result<Vec<Announcement>, RegistryError>>;

    /// Replaces what is stored for the announcement's agent, in one step. GIDs that belong to an agent in `superseded`
    /// are taken from it.
    ///
    /// # Errors
    /// [`RegistryError::GidTaken`] for a GID of any other agent, [`RegistryError::Store`].
    fn put<'a>(
        &'a self,
        announcement: &'a Announcement,
        superseded: &'a [AgentId],
        now: WallTime,
    ) -> BoxFuture<'a, Result<(), RegistryError>>;

    /// Forgets agents and their RNICs; those that are not stored are ignored.
    ///
    /// # Errors
    /// [`RegistryError::Store`].
    fn remove<'a>(&'a self, agents: &'a [AgentId]) -> BoxFuture<'a, Result<(), RegistryError>>;
}

#[cfg(test)]
mod tests;
