//! What the registry's store takes, and what it takes later.

use std::sync::Arc;

use super::{Core, Refused};
use crate::controller::metrics::set;
use crate::error::describe;
use crate::id::AgentId;
use crate::store::StoreError;
use crate::store::registry::RegistryError;
use crate::topology::Announcement;

impl Core {
    /// Stores what is about to be accepted. A store that takes nothing is no reason to refuse an agent, whose peers would take it
    /// for dead: it is stored later.
    pub(super) async fn store(
        &mut self,
        announcement: &Announcement,
        superseded: &[AgentId],
    ) -> Result<(), Refused> {
        if !self.unstored.is_empty() {
            // In the order in which it happened.
            self.unstored.put(&announcement.agent, superseded);
            return Ok(());
        }
        let now = self.clock.wall();
        match self.registry.put(announcement, superseded, now).await {
            Ok(()) => Ok(()),
            Err(error @ RegistryError::GidTaken { .. }) => {
                Err(Refused::Conflict(error.to_string()))
            }
            Err(RegistryError::Store(error)) => {
                self.unstored.put(&announcement.agent, superseded);
                self.store_failed(&error);
                Ok(())
            }
        }
    }

    pub(super) fn store_failed(&mut self, error: &StoreError) {
        self.metrics.store_failures.inc();
        if self.unstored.begin() {
            tracing::error!(
                error = describe(error),
                "the registry cannot be stored: agents are served from memory, and it is tried again"
            );
        }
    }

    /// Stores what could not be stored before.
    pub(super) async fn store_again(&mut self) {
        if self.unstored.is_empty() || !self.unstored.is_due(self.clock.host()) {
            return;
        }
        let (registry, now) = (Arc::clone(&self.registry), self.clock.wall());
        let stored = self.unstored.store(&*registry, &self.directory, now).await;
        match stored {
            Ok(()) => tracing::info!("the registry is stored again"),
            Err(error) => self.store_failed(&error),
        }
        set(&self.metrics.agents_unstored, self.unstored.len());
    }
}
