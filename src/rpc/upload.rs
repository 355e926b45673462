//! The messages of an upload, with batches in their encoded form: agents send what their spool holds, the analyzer stores
//! what came and reads it itself ([`super::results::Received::read`]).

use bytes::Bytes;
use prost::Message as _;

use super::v1;

/// `UploadRequest` of `analyzer.proto`. An embedded message and its bytes are the same on the wire. Of a batch that comes in
/// several parts, which no encoder makes, only the last counts.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct UploadRequest {
    /// `None` for what this version does not know.
    #[prost(oneof = "Message", tags = "1, 2")]
    pub message: Option<Message>,
}

/// What a request holds.
#[derive(Clone, PartialEq, Eq, Hash, prost::Oneof)]
pub enum Message {
    /// Comes first.
    #[prost(message, tag = "1")]
    Hello(v1::UploadHello),
    /// A `ResultBatch`, encoded.
    #[prost(bytes = "bytes", tag = "2")]
    Batch(Bytes),
}

impl From<v1::UploadHello> for UploadRequest {
    fn from(hello: v1::UploadHello) -> Self {
        Self {
            message: Some(Message::Hello(hello)),
        }
    }
}

impl From<&v1::ResultBatch> for UploadRequest {
    fn from(batch: &v1::ResultBatch) -> Self {
        Self::of_batch(batch.encode_to_vec().into())
    }
}

impl UploadRequest {
    /// With an encoded `ResultBatch`.
    pub const fn of_batch(encoded: Bytes) -> Self {
        Self {
            message: Some(Message::Batch(encoded)),
        }
    }
}
