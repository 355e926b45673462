//! Why an upload ends.

use std::time::Duration;

use crate::net::url::Url;
use crate::store::StoreError;

/// Why a stream has ended.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The analyzer cannot be reached or has refused.
    #[error("{}", crate::agent::client::status_text(server, status))]
    Status {
        /// The analyzer.
        server: Url,
        /// gRPC's answer.
        status: Box<tonic::Status>,
    },
    /// Nothing came back in time.
    #[error("{server}: no acknowledgement within {within:?}")]
    Silent {
        /// The analyzer.
        server: Url,
        /// How long was waited.
        within: Duration,
    },
    /// The analyzer has closed the stream.
    #[error("{server} has closed the stream")]
    Closed {
        /// The analyzer.
        server: Url,
    },
    /// The spool cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}
