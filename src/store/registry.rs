//! The controller's registry of agents and their RNICs, kept over restarts.
//!
//! [`Registry`] says what an engine must do in terms of whole announcements; nothing of SQL shows through, so that
//! another engine fits behind it. An engine that several controllers share enforces by itself that a GID has one owner:
//! [`Registry::put`] is the place where two controllers that decide at the same time are told apart.

use std::sync::Arc;

use super::StoreError;
use super::shared::SharedRegistry;
use super::tenure::Tenure;
use crate::cluster_key::rotation::Stored;
use crate::id::{AgentId, Gid};
use crate::time::WallTime;
use crate::topology::Announcement;

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

/// An announcement to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// It replaces what is stored for its agent.
    pub announcement: Announcement,
    /// Agents that lose GIDs to it.
    pub superseded: Vec<AgentId>,
}

/// Durable storage of announcements. A call that has returned `Ok` has stored its change.
#[tonic::async_trait]
pub trait Registry: Send + Sync + std::fmt::Debug {
    /// All agents with their RNICs, in the order of their names.
    ///
    /// # Errors
    /// [`RegistryError::Store`].
    async fn load(&self) -> Result<Vec<Announcement>, RegistryError>;

    /// Replaces what is stored for the announcement's agent, in one step. GIDs that belong to an agent in `superseded`
    /// are taken from it.
    ///
    /// # Errors
    /// [`RegistryError::GidTaken`] for a GID of any other agent, [`RegistryError::Store`].
    async fn put(
        &self,
        announcement: &Announcement,
        superseded: &[AgentId],
        now: WallTime,
    ) -> Result<(), RegistryError>;

    /// The same for several, one after another; gives for each the reason why it was refused
    /// ([`RegistryError::GidTaken`]). An engine that can takes all of them in one transaction.
    ///
    /// # Errors
    /// Those of the database; then some may be stored.
    async fn put_all(
        &self,
        puts: &[Put],
        now: WallTime,
    ) -> Result<Vec<Option<RegistryError>>, StoreError> {
        let mut refused = Vec::with_capacity(puts.len());
        for put in puts {
            match self.put(&put.announcement, &put.superseded, now).await {
                Ok(()) => refused.push(None),
                Err(RegistryError::Store(error)) => return Err(error),
                Err(error @ RegistryError::GidTaken { .. }) => refused.push(Some(error)),
            }
        }
        Ok(refused)
    }

    /// Forgets agents and their RNICs; those that are not stored are ignored.
    ///
    /// # Errors
    /// [`RegistryError::Store`].
    async fn remove(&self, agents: &[AgentId]) -> Result<(), RegistryError>;

    /// The secret of the cluster's keys, and which of them is in force; `None` where there is none yet.
    ///
    /// # Errors
    /// [`RegistryError::Store`].
    async fn load_keys(&self) -> Result<Option<Stored>, RegistryError>;

    /// Replaces what is stored of the cluster's keys.
    ///
    /// # Errors
    /// [`RegistryError::Store`].
    async fn put_keys(&self, keys: &Stored) -> Result<(), RegistryError>;

    /// Whether somebody has asked for the next key in the store itself ([`open::want_key`](super::open::want_key)); the request is
    /// taken, so that it counts once. Where an engine has no place for it there is none.
    ///
    /// # Errors
    /// [`RegistryError::Store`].
    async fn take_key_request(&self) -> Result<bool, RegistryError> {
        Ok(false)
    }

    /// What several controllers that share it tell each other; `None` of an engine that one controller has alone.
    fn shared(&self) -> Option<Arc<dyn SharedRegistry>> {
        None
    }

    /// The right to change it, which may be lost where other programs reach the store.
    fn tenure(&self) -> Tenure {
        Tenure::default()
    }
}
