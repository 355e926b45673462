//! The messages of an upload, with batches in their encoded form: agents send what their spool holds, the analyzer stores
//! what came and reads it itself ([`super::results::Received::read`]).

use bytes::Bytes;
use prost::Message as _;

use super::{MAX_MESSAGE_BYTES, v1};

/// zstd's fastest regular level.
const LEVEL: i32 = 1;

/// `UploadRequest` of `analyzer.proto`. An embedded message and its bytes are the same on the wire. Of a batch that comes in
/// several parts, which no encoder makes, only the last counts.
#[derive(Clone, PartialEq, prost::Message)]
pub struct UploadRequest {
    /// `None` for what this version does not know.
    #[prost(oneof = "Message", tags = "1, 2, 3, 4")]
    pub message: Option<Message>,
}

/// What a request holds.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Message {
    /// Comes first.
    #[prost(message, tag = "1")]
    Hello(v1::UploadHello),
    /// A `ResultBatch`, encoded.
    #[prost(bytes = "bytes", tag = "2")]
    Batch(Bytes),
    /// The same compressed with zstd: one frame that names the size of its content.
    #[prost(bytes = "bytes", tag = "3")]
    ZstdBatch(Bytes),
    /// What the agent says of itself.
    #[prost(message, tag = "4")]
    State(v1::AgentState),
}

/// Why a compressed batch is not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// It is no frame, or one that does not say how large its content is.
    #[error("the compressed batch is no zstd frame that names the size of its content")]
    NoSize,
    /// Its content is too large, in bytes.
    #[error(
        "the compressed batch has {size} bytes of content: at most {MAX_MESSAGE_BYTES} are taken"
    )]
    TooLarge {
        /// In bytes.
        size: u64,
    },
    /// It is damaged.
    #[error("the compressed batch cannot be unpacked")]
    Damaged(#[source] std::io::Error),
}

/// How large a compressed batch says that its content is, in bytes. Nothing is unpacked.
///
/// # Errors
/// [`PackError`].
pub fn unpacked_size(packed: &[u8]) -> Result<usize, PackError> {
    let size = zstd::zstd_safe::get_frame_content_size(packed);
    let size = size.ok().flatten().ok_or(PackError::NoSize)?;
    match usize::try_from(size) {
        Ok(bytes) if bytes <= MAX_MESSAGE_BYTES => Ok(bytes),
        _ => Err(PackError::TooLarge { size }),
    }
}

/// Unpacks a compressed batch of this size; more is never unpacked.
///
/// # Errors
/// [`PackError::Damaged`].
pub fn unpack(packed: &[u8], size: usize) -> Result<Bytes, PackError> {
    let content = zstd::bulk::decompress(packed, size).map_err(PackError::Damaged)?;
    Ok(content.into())
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
    /// With an encoded `ResultBatch`, compressed where that makes it smaller.
    pub fn of_packed(encoded: Bytes) -> Self {
        match zstd::bulk::compress(&encoded, LEVEL) {
            Ok(packed) if packed.len() < encoded.len() => Self {
                message: Some(Message::ZstdBatch(packed.into())),
            },
            _ => Self::of_batch(encoded),
        }
    }

    /// With what the agent says of itself.
    pub const fn of_state(state: v1::AgentState) -> Self {
        Self {
            message: Some(Message::State(state)),
        }
    }

    /// With an encoded `ResultBatch`.
    pub const fn of_batch(encoded: Bytes) -> Self {
        Self {
            message: Some(Message::Batch(encoded)),
        }
    }
}

#[cfg(test)]
mod tests;
