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
        if self.unstored.is_empty() {
            // Other controllers may have stored them all.
            set(&self.metrics.agents_unstored, 0);
            return;
        }
        if !self.unstored.is_due(self.clock.host()) || self.is_hanging() {
            return;
        }
        // An agent that has moved to another controller meanwhile, or has begun anew there, is that one's.
        if !self.follow_others(true).await {
            return;
        }
        let (registry, now) = (Arc::clone(&self.registry), self.clock.wall());
        let begun = self.clock.host();
        let stored = self.unstored.store(&*registry, &self.directory, now).await;
        self.unstored.has_tried(self.clock.host());
        match stored {
            Ok(refused) => {
                tracing::info!("the registry is stored again");
                self.refuse_later(&refused);
            }
            Err(error) => self.store_failed(&error, begun),
        }
        set(&self.metrics.agents_unstored, self.unstored.len());
    }
}
