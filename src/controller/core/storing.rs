//! What the registry's store takes later.

use std::sync::Arc;

use super::Core;
use crate::controller::metrics::set;

impl Core {
    /// Stores what could not be stored before.
    pub(super) async fn store_again(&mut self) {
        if self.is_follower() {
            // Another controller forgets agents now: those that it has kept are taken over again.
            let kept = self.unstored.leave_departures();
            self.hand_back(kept);
        }
        let now = self.clock.host();
        if self.unstored.is_empty() || !self.unstored.is_due(now) {
            return;
        }
        // An agent that has moved to another controller meanwhile, or has begun anew there, is that one's.
        if !self.follow_others(true, now).await {
            return;
        }
        let (registry, now) = (Arc::clone(&self.registry), self.clock.wall());
        let stored = self.unstored.store(&*registry, &self.directory, now).await;
        match stored {
            Ok(refused) => {
                tracing::info!("the registry is stored again");
                self.refuse_later(&refused);
            }
            Err(error) => self.store_failed(&error),
        }
        set(&self.metrics.agents_unstored, self.unstored.len());
    }
}
