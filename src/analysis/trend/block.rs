//! Many points in few bytes.
//!
//! ```text
//! block  = version(1 byte) *( entry )             entries ascend by key
//! entry  = shared rest-length rest point-length point
//! key    = first-length first second              of the series' names
//! point  = sent lost spans [ 0 spans [ 0 spans ] ]    round trips, prober delays, responder delays
//! spans  = *( bin-difference count )              the first difference is the bin + 1, so that none is 0
//! ```
//!
//! Version 1, which is still read, has the round trips alone, and the first bin itself as the first difference.
//!
//! All numbers are unsigned LEB128. A key is stored as the number of bytes that it shares with the one before, and the
//! rest: names of one fabric begin alike. The length of a point lets a reader of one series step over the others.

use std::collections::BTreeMap;

use super::{Point, Spans};

/// The first byte of every block.
const VERSION: u8 = 2;
/// What earlier programs have written.
const WITHOUT_DELAYS: u8 = 1;

/// Why bytes are not a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// Written by a newer version, or something else.
    #[error("the block has version {0}, this program reads version {VERSION}")]
    Version(u8),
    /// It ends in the middle, or contradicts itself.
    #[error("the block is damaged at byte {0}")]
    Damaged(usize),
}

/// The points of series by their two names.
pub type Points = BTreeMap<(String, String), Point>;

fn put(number: u64, bytes: &mut Vec<u8>) {
    let mut rest = number;
    loop {
        let low = (rest & 0x7f) as u8;
        rest >>= 7;
        if rest == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}

fn key_of(first: &str, second: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(first.len() + second.len() + 2);
    put(first.len() as u64, &mut key);
    key.extend(first.as_bytes());
    key.extend(second.as_bytes());
    key
}

/// Writes points. Empty ones are left out.
pub fn encode(points: &Points) -> Vec<u8> {
    let mut keyed: Vec<_> = points
        .iter()
        .filter(|(_, point)| !point.is_empty())
        .map(|((first, second), point)| (key_of(first, second), point))
        .collect();
    keyed.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut bytes = vec![VERSION];
    let mut before: &[u8] = &[];
    for (key, point) in &keyed {
        let shared = before.iter().zip(key).take_while(|(a, b)| a == b).count();
        put(shared as u64, &mut bytes);
        put((key.len() - shared) as u64, &mut bytes);
        bytes.extend(&key[shared..]);
        let body = encode_point(point);
        put(body.len() as u64, &mut bytes);
        bytes.extend(body);
        before = key;
    }
    bytes
}

fn encode_point(point: &Point) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4 + 3 * point.rtt.bins.len());
    put(point.sent, &mut bytes);
    put(point.lost, &mut bytes);
    let all = [&point.rtt, &point.prober_delay, &point.responder_delay];
    let used = all.iter().rposition(|spans| !spans.is_empty());
    for (number, spans) in all.iter().take(used.map_or(0, |last| last + 1)).enumerate() {
        if number > 0 {
            put(0, &mut bytes);
        }
        let mut next = 0;
        for (bin, count) in &spans.bins {
            let end = u64::from(*bin) + 1;
            put(end - next, &mut bytes);
            put(*count, &mut bytes);
            next = end;
        }
    }
    bytes
}

/// Reads bytes from the front.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    const fn damaged(&self) -> BlockError {
        BlockError::Damaged(self.at)
    }

    const fn is_over(&self) -> bool {
        self.at >= self.bytes.len()
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], BlockError> {
        let end = self.at.checked_add(count);
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or_else(|| self.damaged())?;
        self.at += count;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u64, BlockError> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            let part = u64::from(byte & 0x7f);
            if part.leading_zeros() < shift {
                return Err(self.damaged());
            }
            number |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(self.damaged())
    }

    fn length(&mut self) -> Result<usize, BlockError> {
        let length = usize::try_from(self.number()?);
        let rest = self.bytes.len() - self.at;
        length
            .ok()
            .filter(|length| *length <= rest)
            .ok_or_else(|| self.damaged())
    }
}

/// Goes through the entries until `wants` has what it wants: it gets keys and their points, with the version of these bytes.
fn each<'a>(
    bytes: &'a [u8],
    mut wants_more: impl FnMut(&[u8], (u8, &'a [u8])) -> Result<bool, BlockError>,
) -> Result<(), BlockError> {
    let mut reader = Reader { bytes, at: 0 };
    let version = reader.take(1)?[0];
    if !matches!(version, WITHOUT_DELAYS | VERSION) {
        return Err(BlockError::Version(version));
    }
    let mut key: Vec<u8> = Vec::new();
    while !reader.is_over() {
        let shared = usize::try_from(reader.number()?).map_err(|_| reader.damaged())?;
        if shared > key.len() {
            return Err(reader.damaged());
        }
        key.truncate(shared);
        let rest = reader.length()?;
        key.extend(reader.take(rest)?);
        let length = reader.length()?;
        let point = reader.take(length)?;
        if !wants_more(&key, (version, point))? {
            return Ok(());
        }
    }
    Ok(())
}

fn decode_point(version: u8, bytes: &[u8]) -> Result<Point, BlockError> {
    let mut reader = Reader { bytes, at: 0 };
    let mut point = Point {
        sent: reader.number()?,
        lost: reader.number()?,
        ..Point::default()
    };
    if version == WITHOUT_DELAYS {
        let is_over = spans(&mut reader, &mut point.rtt, 0)?;
        return is_over.then_some(point).ok_or_else(|| reader.damaged());
    }
    let is_over = spans(&mut reader, &mut point.rtt, 1)?
        || spans(&mut reader, &mut point.prober_delay, 1)?
        || spans(&mut reader, &mut point.responder_delay, 1)?;
    is_over.then_some(point).ok_or_else(|| reader.damaged())
}

/// Reads spans up to a zero or to the end; whether it was the end. The first difference is `first` more than the bin.
fn spans(reader: &mut Reader<'_>, spans: &mut Spans, first: u16) -> Result<bool, BlockError> {
    let mut bin = 0u16;
    while !reader.is_over() {
        let further = u16::try_from(reader.number()?).map_err(|_| reader.damaged())?;
        let is_first = spans.bins.is_empty();
        if further == 0 && first > 0 {
            return Ok(false);
        }
        bin = bin.checked_add(further).ok_or_else(|| reader.damaged())?;
        if is_first {
            bin -= first;
        }
        let count = reader.number()?;
        if count == 0 || (further == 0 && !is_first) {
            return Err(reader.damaged());
        }
        spans.bins.push((bin, count));
    }
    Ok(true)
}

/// The point of one series; `None` where the block has none.
///
/// # Errors
/// The bytes are not a block.
pub fn find(bytes: &[u8], first: &str, second: &str) -> Result<Option<Point>, BlockError> {
    let wanted = key_of(first, second);
    let mut found = None;
    each(bytes, |key, (version, point)| {
        if key == wanted {
            found = Some(decode_point(version, point)?);
        }
        Ok(key < wanted.as_slice())
    })?;
    Ok(found)
}

/// Adds all points of a block to those of others.
///
/// # Errors
/// The bytes are not a block; points before the damage may have been added.
pub fn merge_into(points: &mut Points, bytes: &[u8]) -> Result<(), BlockError> {
    each(bytes, |key, (version, point)| {
        let (first, second) = names(key)?;
        let point = decode_point(version, point)?;
        points.entry((first, second)).or_default().merge(&point);
        Ok(true)
    })
}

fn names(key: &[u8]) -> Result<(String, String), BlockError> {
    let mut reader = Reader { bytes: key, at: 0 };
    let length = reader.length()?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| BlockError::Damaged(0));
    let first = text(reader.take(length)?)?;
    Ok((first, text(&key[reader.at..])?))
}
