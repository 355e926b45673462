//! From one analyzer to another.

use std::time::Duration;

use rand::Rng as _;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::transport::Channel;

use crate::rpc::MAX_MESSAGE_BYTES;
use crate::rpc::shards::Assignment;
use crate::rpc::upload::UploadRequest;
use crate::rpc::v1::analyzer_service_client::AnalyzerServiceClient;
use crate::store::StoreError;
use crate::store::spool::{Spool, Stored};

/// Agents move to another analyzer within this.
const JITTER: Duration = Duration::from_millis(500);

/// How long batches are kept after they were acknowledged, where another analyzer may want them: what the longest window holds, and two
/// slots.
const KEPT: Duration = Duration::from_secs(130);

/// Whether what was acknowledged is kept for another analyzer. It is until it is clear that one analyzer has the fleet for itself.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    /// The controller names an analyzer before, or there is one only; `None`: that is decided.
    until: Option<Instant>,
}

impl Keeping {
    /// From the start: the controller may name an analyzer after the first batches. A spool that is closed ends the stream.
    pub(super) async fn begin(&mut self, spool: &Spool) {
        let _ = spool.keep_acknowledged(Some(KEPT)).await;
        self.until = Some(Instant::now() + KEPT);
    }

    /// The controller has named an analyzer.
    pub(super) async fn go_on(&mut self, spool: &Spool) {
        let _ = spool.keep_acknowledged(Some(KEPT)).await;
        self.until = None;
    }

    /// Keeps nothing more when the controller has named none for that long.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub(super) async fn decide(&mut self, spool: &Spool) -> Result<(), StoreError> {
        if self.until.is_some_and(|until| Instant::now() >= until) {
            self.until = None;
            spool.keep_acknowledged(None).await?;
        }
        Ok(())
    }
}

/// Returns a moment after another analyzer was named: agents that lost the same one do not come in step.
pub(super) async fn moved(assigned: &mut watch::Receiver<Option<Assignment>>) {
    if assigned.changed().await.is_err() {
        // Nobody names one any more.
        return std::future::pending().await;
    }
    let jitter = rand::rng().random_range(Duration::ZERO..JITTER);
    tokio::time::sleep(jitter).await;
}

/// With the limits on messages.
pub(super) fn client(channel: Channel) -> AnalyzerServiceClient<Channel> {
    AnalyzerServiceClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

/// A batch as the analyzer takes it.
pub(super) fn request(batch: Stored, takes_zstd: bool) -> UploadRequest {
    if takes_zstd {
        UploadRequest::of_packed(batch.payload.into())
    } else {
        UploadRequest::of_batch(batch.payload.into())
    }
}
