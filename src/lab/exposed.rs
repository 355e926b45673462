//! The metrics of the lab's controller and agents on one address, for a Prometheus that scrapes it:
//! `/controller/metrics` and `/agents/HOST/metrics`. The analyzer's are where its API is.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::counters::EmulatedCounters;
use super::run::LabError;
use crate::telemetry::metrics::router;

/// What is served.
pub(super) struct Exposed {
    controller: Arc<Registry>,
    pub(super) agents: BTreeMap<String, Arc<Registry>>,
    /// What the RNICs of the agents count.
    pub(super) counters: EmulatedCounters,
}

impl Exposed {
    pub(super) fn new(controller: Arc<Registry>, counters: EmulatedCounters) -> Self {
        Self {
            controller,
            agents: BTreeMap::new(),
            counters,
        }
    }

    /// Serves until `stop`; gives the address.
    pub(super) async fn serve(
        self,
        address: SocketAddr,
        stop: CancellationToken,
    ) -> Result<SocketAddr, LabError> {
        let fail = |source| LabError::Metrics { address, source };
        let listener = TcpListener::bind(address).await.map_err(fail)?;
        let bound = listener.local_addr().map_err(fail)?;
        let mut all = Router::new().nest("/controller", router(self.controller));
        for (host, registry) in self.agents {
            all = all.nest(&format!("/agents/{host}"), router(registry));
        }
        tokio::spawn(async move {
            let serving = axum::serve(listener, all).with_graceful_shutdown(stop.cancelled_owned());
            if let Err(error) = serving.await {
                tracing::error!(%error, "the metrics server failed");
            }
        });
        Ok(bound)
    }
}

#[cfg(test)]
mod tests;
