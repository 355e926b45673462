//! From one analyzer to another.

use std::time::Duration;

use rand::Rng as _;
use tokio::sync::watch;
use tonic::transport::Channel;

use crate::rpc::MAX_MESSAGE_BYTES;
use crate::rpc::shards::Assignment;
use crate::rpc::upload::UploadRequest;
use crate::rpc::v1::analyzer_service_client::AnalyzerServiceClient;
use crate::store::spool::Stored;

/// Agents move to another analyzer within this.
const JITTER: Duration = Duration::from_millis(500);

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
