//! Batches are kept compressed, where that makes them smaller.

use std::io;

/// zstd's fastest regular level.
const LEVEL: i32 = 1;
/// The longest batch that is unpacked, in bytes.
pub(super) const LONGEST: usize = 16 << 20;

/// A batch as it is kept: compressed, where that makes it smaller.
pub(super) fn pack(content: &[u8]) -> (Vec<u8>, bool) {
    match zstd::bulk::compress(content, LEVEL) {
        Ok(packed) if packed.len() < content.len() => (packed, true),
        _ => (content.to_vec(), false),
    }
}

/// The reverse.
///
/// # Errors
/// `InvalidData`: it is damaged, or longer than any batch.
pub(super) fn unpack(bytes: Vec<u8>, is_packed: bool) -> io::Result<Vec<u8>> {
    if !is_packed {
        return Ok(bytes);
    }
    zstd::bulk::decompress(&bytes, LONGEST)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}
