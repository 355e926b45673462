//! The compressed form of a batch.

use std::io;

/// zstd's fastest regular level: what is gained beyond it is a few percent.
const LEVEL: i32 = 1;

/// The longest payload, in bytes.
pub const LONGEST_PAYLOAD: usize = 16 << 20;

/// A batch as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Encoded {
    /// By zstd.
    pub(super) compressed: bool,
    pub(super) bytes: Vec<u8>,
}

impl Encoded {
    /// Compresses, where that makes it smaller.
    pub(super) fn new(payload: Vec<u8>) -> Self {
        match zstd::bulk::compress(&payload, LEVEL) {
            Ok(bytes) if bytes.len() < payload.len() => Self {
                compressed: true,
                bytes,
            },
            _ => Self {
                compressed: false,
                bytes: payload,
            },
        }
    }

    /// The batch, of at most `most` bytes.
    ///
    /// # Errors
    /// `InvalidData`: it is no compressed batch, or a larger one.
    pub(super) fn decode(self, most: usize) -> io::Result<Vec<u8>> {
        let payload = if self.compressed {
            zstd::bulk::decompress(&self.bytes, most)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?
        } else {
            self.bytes
        };
        if payload.len() > most {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(payload)
    }
}
