//! A server's disk that may be full or not answer: between the server and its real store.

use std::sync::Arc;

use rpingmesh::analysis::admission::Watermark;
use rpingmesh::analysis::report::Sender;
use rpingmesh::cluster_key::rotation::Stored as StoredKeys;
use rpingmesh::id::AgentId;
use rpingmesh::store::StoreError;
use rpingmesh::store::journal::{Journal, Record, Stored};
use rpingmesh::store::registry::{Registry, RegistryError};
use rpingmesh::time::WallTime;
use rpingmesh::topology::Announcement;
use tokio::sync::watch;

/// What becomes of what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writes {
    Work,
    /// Nothing is stored, and the caller is told so.
    Fail,
    /// What is added is stored, and the caller is told nothing until this changes.
    Hang,
}

/// The disk of one server.
#[derive(Debug, Clone)]
pub(super) struct Disk(Arc<watch::Sender<Writes>>);

impl Disk {
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Writes::Work)))
    }

    pub(super) fn set(&self, writes: Writes) {
        self.0.send_replace(writes);
    }

    pub(super) fn works(&self) -> bool {
        *self.0.borrow() == Writes::Work
    }

    fn check(&self) -> Result<(), StoreError> {
        match *self.0.borrow() {
            Writes::Fail => Err(StoreError::Full {
                store: "of the simulation".to_owned(),
            }),
            Writes::Work | Writes::Hang => Ok(()),
        }
    }

    async fn answer(&self) {
        let mut writes = self.0.subscribe();
        // The sender is this.
        let _ = writes.wait_for(|writes| *writes != Writes::Hang).await;
    }
}

/// An analyzer's journal on it.
pub(super) struct OnDisk<S: ?Sized>(pub(super) Arc<S>, pub(super) Disk);

impl<S: ?Sized> std::fmt::Debug for OnDisk<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.1.fmt(f)
    }
}

#[tonic::async_trait]
impl Journal for OnDisk<dyn Journal> {
    async fn watermarks(&self) -> Result<Vec<Watermark>, StoreError> {
        self.0.watermarks().await
    }

    async fn append(&self, records: Vec<Record>, marks: Vec<Watermark>) -> Result<(), StoreError> {
        self.1.check()?;
        self.0.append(records, marks).await?;
        self.1.answer().await;
        Ok(())
    }

    async fn read(
        &self,
        since: WallTime,
        position: i64,
        limit: u32,
        bytes: usize,
    ) -> Result<Vec<Stored>, StoreError> {
        self.0.read(since, position, limit, bytes).await
    }

    async fn newest(&self) -> Result<i64, StoreError> {
        self.0.newest().await
    }

    async fn prune(&self, batches: WallTime, marks: WallTime) -> Result<usize, StoreError> {
        self.1.check()?;
        self.0.prune(batches, marks).await
    }

    async fn forget(&self, spools: Vec<Sender>) -> Result<(), StoreError> {
        self.1.check()?;
        self.0.forget(spools).await
    }
}

#[tonic::async_trait]
impl Registry for OnDisk<dyn Registry> {
    async fn load(&self) -> Result<Vec<Announcement>, RegistryError> {
        self.0.load().await
    }

    async fn put(
        &self,
        announcement: &Announcement,
        superseded: &[AgentId],
        now: WallTime,
    ) -> Result<(), RegistryError> {
        self.1.check()?;
        self.0.put(announcement, superseded, now).await?;
        self.1.answer().await;
        Ok(())
    }

    async fn remove(&self, agents: &[AgentId]) -> Result<(), RegistryError> {
        self.1.check()?;
        self.0.remove(agents).await?;
        self.1.answer().await;
        Ok(())
    }

    async fn load_keys(&self) -> Result<Option<StoredKeys>, RegistryError> {
        self.0.load_keys().await
    }

    async fn put_keys(&self, keys: &StoredKeys) -> Result<(), RegistryError> {
        self.1.check()?;
        self.0.put_keys(keys).await
    }
}
