//! Starts an analyzer as it is configured: alone, or one of several.

use std::sync::Arc;

use super::error::AnalyzerError;
use super::{Analyzer, shared};
use crate::config::analyzer::AnalyzerConfig;
use crate::events::Publisher;
use crate::store::open::Stores;
use crate::time::Clock;

impl Analyzer {
    /// Opens the store, replays what it holds, and serves. Stored batches and changed incidents are published as `events`.
    ///
    /// # Errors
    /// The store cannot be used or an address cannot be listened on. Nothing is left running then.
    pub async fn start(
        config: AnalyzerConfig,
        clock: Arc<dyn Clock>,
        events: Publisher,
    ) -> Result<Self, AnalyzerError> {
        if let Some(shared) = config.shared.clone() {
            return Box::pin(shared::start(config, shared, clock, events)).await;
        }
        let stores = Stores::open(&config.store).await?;
        Self::start_on(stores, config, clock, events).await
    }
}
