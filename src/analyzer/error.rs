//! Why an analyzer cannot run, and how long its parts may take to end.

use std::time::Duration;

use crate::net::client::ChannelError;
use crate::net::server::ServerError;
use crate::store::StoreError;
use crate::store::tenure::RELEASE;
use crate::supervisor::TaskError;

/// How long open uploads and requests may take to end after a stop.
pub(super) const GRACE: Duration = Duration::from_secs(2);
/// How long what is queued may take to be stored after that, at least.
pub(super) const DRAIN: Duration = Duration::from_secs(2);
const _: () = assert!(
    GRACE.as_millis() + DRAIN.as_millis() + RELEASE.as_millis()
        < crate::supervisor::STOP_LIMIT.as_millis()
);

/// Why the analyzer cannot run.
#[derive(Debug, thiserror::Error)]
pub enum AnalyzerError {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An address cannot be listened on, or gRPC cannot be served.
    #[error(transparent)]
    Grpc(#[from] ServerError),
    /// The connection on which the controller is told what to probe more cannot be set up.
    #[error("focus_controller")]
    Focus(#[from] ChannelError),
    /// One of its tasks panicked or ended.
    #[error(transparent)]
    Task(#[from] TaskError),
}
