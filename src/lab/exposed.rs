//! The metrics of the lab's controller and agents on one address, for a Prometheus that scrapes it:
//! `/controller/metrics` and `/agents/HOST/metrics`. The analyzer's are where its API is.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::error::LabError;
use crate::telemetry::metrics::router;

/// What is served.
pub(super) struct Exposed {
    pub(super) controller: Arc<Registry>,
    /// By host.
    pub(super) agents: BTreeMap<String, Arc<Registry>>,
}

impl Exposed {
    /// Listens; gives the address, and what serves until `stop`.
    pub(super) async fn serve(
        self,
        address: SocketAddr,
        stop: CancellationToken,
    ) -> Result<
        (
            SocketAddr,
            impl Future<Output = Result<(), LabError>> + Send,
        ),
        LabError,
    > {
        let fail = move |source| LabError::Metrics { address, source };
        let listener = TcpListener::bind(address).await.map_err(fail)?;
        let bound = listener.local_addr().map_err(fail)?;
        let mut all = Router::new().nest("/controller", router(self.controller));
        for (host, registry) in self.agents {
            all = all.nest(&format!("/agents/{host}"), router(registry));
        }
        let serving = axum::serve(listener, all).with_graceful_shutdown(stop.cancelled_owned());
        Ok((bound, async move { serving.await.map_err(fail) }))
    }
}

#[cfg(test)]
mod tests;
