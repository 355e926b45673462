//! One file of the spool: a header, then records, each with a checksum; appended only.
//!
//! ```text
//! header   magic "rpspool" 7 | version 1 | spool id 8 | next sequence 8 | CRC-32 of the above 4
//! record   body length 4 | CRC-32 of the rest 4 | kind 1 | sequence 8 | body
//! ```
//! Integers are little-endian. Kinds: 0 a batch as it is, 1 a batch compressed with zstd, 2 an acknowledgement: `sequence`
//! and those before it are not needed, the body is the spool id (8). A record whose checksum is wrong is passed over; where
//! its length cannot be right, the rest of the file is.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::codec::{Encoded, LONGEST_PAYLOAD};

/// With the version of the layout in the last byte.
const MAGIC: &[u8; 8] = b"rpspool\x01";
const HEADER_BYTES: usize = 28;
pub(super) const HEADER: u64 = HEADER_BYTES as u64;
const RECORD: usize = 17;
/// Longer bodies do not exist: the largest message, and what zstd adds to bytes that it cannot compress.
const LONGEST: usize = LONGEST_PAYLOAD + (1 << 20);

const PLAIN: u8 = 0;
const ZSTD: u8 = 1;
const ACKNOWLEDGED: u8 = 2;

/// What the first bytes of a file say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) id: u64,
    /// The number of the first batch that can follow.
    pub(super) next: u64,
}

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum SegmentError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("its layout is of version {0}, which a newer program has written")]
    Newer(u8),
    #[error("it does not begin like a file of the spool")]
    Damaged,
}

/// A record of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record {
    /// A batch, and where it is: offset of the record, length of the body.
    Batch {
        sequence: u64,
        offset: u64,
        length: usize,
    },
    /// All up to `sequence` of this spool.
    Acknowledged { id: u64, sequence: u64 },
    /// Bytes that are no record any more.
    Damaged,
}

impl Header {
    /// Makes the file. It must not exist.
    pub(super) fn create(self, path: &Path) -> io::Result<File> {
        let mut file = File::options()
            .read(true)
            .append(true)
            .create_new(true)
            .open(path)?;
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend(MAGIC);
        bytes.extend(self.id.to_le_bytes());
        bytes.extend(self.next.to_le_bytes());
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        if let Err(error) = file.write_all(&bytes) {
            // It has no content that anybody could miss.
            let _ = std::fs::remove_file(path);
            return Err(error);
        }
        Ok(file)
    }

    fn read(from: &mut impl Read) -> Result<Self, SegmentError> {
        let mut bytes = [0; HEADER_BYTES];
        match from.read_exact(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(SegmentError::Damaged);
            }
            other => other?,
        }
        let (content, checksum) = bytes.split_at(24);
        if content[..7] != MAGIC[..7] || crc32fast::hash(content) != u32_at(checksum, 0) {
            return Err(SegmentError::Damaged);
        }
        if content[7] > MAGIC[7] {
            return Err(SegmentError::Newer(content[7]));
        }
        Ok(Self {
            id: u64_at(content, 8),
            next: u64_at(content, 16),
        })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut out = [0; 4];
    out.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(out)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut out = [0; 8];
    out.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(out)
}

/// The bytes of a record.
fn record(kind: u8, sequence: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(RECORD + body.len());
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    bytes.extend(length.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.push(kind);
    bytes.extend(sequence.to_le_bytes());
    bytes.extend(body);
    let checksum = crc32fast::hash(&bytes[8..]);
    bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// The record of a batch.
pub(super) fn batch(sequence: u64, encoded: &Encoded) -> Vec<u8> {
    let kind = if encoded.compressed { ZSTD } else { PLAIN };
    record(kind, sequence, &encoded.bytes)
}

/// The record of an acknowledgement.
pub(super) fn acknowledgement(id: u64, sequence: u64) -> Vec<u8> {
    record(ACKNOWLEDGED, sequence, &id.to_le_bytes())
}

/// Reads a batch back.
///
/// # Errors
/// Those of the file system; `InvalidData` where the bytes are not those that were written.
pub(super) fn read(file: &File, offset: u64, length: usize, sequence: u64) -> io::Result<Encoded> {
    let mut bytes = vec![0; RECORD + length];
    file.read_exact_at(&mut bytes, offset)?;
    let kind = bytes[8];
    let is_whole = u32_at(&bytes, 0) as usize == length
        && u32_at(&bytes, 4) == crc32fast::hash(&bytes[8..])
        && u64_at(&bytes, 9) == sequence
        && matches!(kind, PLAIN | ZSTD);
    if !is_whole {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(Encoded {
        compressed: kind == ZSTD,
        bytes: bytes.split_off(RECORD),
    })
}

/// Reads all records of a file, and gives its header. A record that was cut off at the end, which a kill or a full disk leaves,
/// counts as [`Record::Damaged`] when there is more of it than nothing.
///
/// # Errors
/// [`SegmentError`].
pub(super) fn scan(path: &Path, mut found: impl FnMut(Record)) -> Result<Header, SegmentError> {
    let file = File::open(path)?;
    let end = file.metadata()?.len();
    let mut input = BufReader::new(file);
    let header = Header::read(&mut input)?;
    let mut offset = HEADER;
    while offset < end {
        let mut head = [0; RECORD];
        if end - offset < RECORD as u64 {
            found(Record::Damaged);
            break;
        }
        input.read_exact(&mut head)?;
        let length = u32_at(&head, 0) as usize;
        if length > LONGEST || end - offset - (RECORD as u64) < length as u64 {
            // Where the next record begins is not known.
            found(Record::Damaged);
            break;
        }
        let mut body = vec![0; length];
        input.read_exact(&mut body)?;
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&head[8..]);
        checksum.update(&body);
        let sequence = u64_at(&head, 9);
        let is_whole = checksum.finalize() == u32_at(&head, 4);
        found(match head[8] {
            PLAIN | ZSTD if is_whole => Record::Batch {
                sequence,
                offset,
                length,
            },
            ACKNOWLEDGED if is_whole && length == 8 => Record::Acknowledged {
                id: u64_at(&body, 0),
                sequence,
            },
            _ => Record::Damaged,
        });
        offset += (RECORD + length) as u64;
    }
    Ok(header)
}

/// Appends bytes; a part that was written before an error is taken back.
pub(super) fn append(file: &mut File, bytes: &[u8]) -> io::Result<u64> {
    let offset = file.seek(SeekFrom::End(0))?;
    if let Err(error) = file.write_all(bytes) {
        // If this fails too, the next scan passes over the part.
        let _ = file.set_len(offset);
        return Err(error);
    }
    Ok(offset)
}
