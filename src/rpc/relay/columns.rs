//! The columns of a frame: what was measured, over all its batches.

use prost::encoding::{decode_varint, encode_varint};

use super::batch::{Condensed, EXACT, IS_EXACT, Odd};
use crate::analysis::report::MAX_PROBES;
use crate::analysis::sketch::Bin;
use crate::measure::{Invalid, Measurement};
use crate::rpc::results::message::{reason_from, reason_to};
use crate::rpc::results::{MAX_SAMPLES, ReportError};
use crate::rpc::upload::{PackError, unpack, unpacked_size};
use crate::rpc::v1;
use crate::time::Nanos;

/// zstd's fastest regular level: bytes of one column repeat each other's values, hardly each other's order.
const LEVEL: i32 = 1;

/// The longest column, in bytes: that of a batch as large as a message may be, with three spans of a byte for each probe, is shorter.
const LONGEST: usize = 6 << 20;

/// Columns that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ColumnError {
    /// It is longer than that of any batch.
    #[error("column `{column}` has {size} bytes: at most {LONGEST} are taken")]
    TooLong {
        /// Which.
        column: &'static str,
        /// In bytes.
        size: usize,
    },
    /// It cannot be unpacked.
    #[error("column `{column}`: {error}")]
    Pack {
        /// Which.
        column: &'static str,
        /// Why.
        #[source]
        error: PackError,
    },
    /// It ends before the reports of the frame do.
    #[error("column `{0}` has fewer entries than the frame has reports")]
    Short(&'static str),
    /// It goes on when all reports of the frame are read.
    #[error("column `{0}` has more entries than the frame has reports")]
    Long(&'static str),
    /// A number that is none of its kind.
    #[error("column `{column}` has {number}")]
    Number {
        /// Which.
        column: &'static str,
        /// The number.
        number: u64,
    },
    /// A reason that this version does not know.
    #[error("column `odd`: {0}")]
    Reason(ReportError),
}

/// Names of the columns of spans, lower bits before upper ones.
const SPANS: [(&str, &str); 3] = [
    ("network_rtt_low", "network_rtt_high"),
    ("prober_delay_low", "prober_delay_high"),
    ("responder_delay_low", "responder_delay_high"),
];

/// Columns that are being written.
#[derive(Debug, Default)]
pub(super) struct Writer {
    paths: Vec<u8>,
    complete: Vec<u8>,
    spans: [(Vec<u8>, Vec<u8>); 3],
    exact: Vec<u8>,
    odd: Vec<u8>,
    /// Reports since the last odd one.
    even: u64,
}

impl Writer {
    /// Writes the reports of a batch; gives the number of the first one's path.
    pub(super) fn add(&mut self, batch: &Condensed) -> u32 {
        let first = batch.reports.first().map_or(0, |(path, _)| *path);
        let mut before = first;
        let mut odd = batch.odd.iter().peekable();
        for (place, (path, complete)) in (0..).zip(&batch.reports) {
            encode_varint(u64::from(path.saturating_sub(before)), &mut self.paths);
            encode_varint(u64::from(*complete), &mut self.complete);
            before = *path;
            match odd.next_if(|odd| odd.report == place) {
                Some(odd) => self.add_odd(odd),
                None => self.even += 1,
            }
        }
        for bins in &batch.bins {
            for (bin, (low, high)) in bins.iter().zip(&mut self.spans) {
                let [upper, lower] = bin.to_be_bytes();
                low.push(lower);
                high.push(upper);
            }
        }
        for span in &batch.exact {
            encode_varint(span.cast_unsigned(), &mut self.exact);
        }
        first
    }

    fn add_odd(&mut self, odd: &Odd) {
        encode_varint(self.even, &mut self.odd);
        self.even = 0;
        encode_varint(odd.lost, &mut self.odd);
        encode_varint(odd.invalid.len() as u64, &mut self.odd);
        for (reason, count) in &odd.invalid {
            let number = i32::from(reason_to(*reason));
            encode_varint(u64::from(number.unsigned_abs()), &mut self.odd);
            encode_varint(*count, &mut self.odd);
        }
    }

    /// The columns, compressed.
    ///
    /// # Errors
    /// zstd has no memory.
    pub(super) fn finish(self) -> std::io::Result<v1::RelayedReports> {
        let pack = |column: Vec<u8>| -> std::io::Result<bytes::Bytes> {
            if column.is_empty() {
                return Ok(bytes::Bytes::new());
            }
            Ok(zstd::bulk::compress(&column, LEVEL)?.into())
        };
        let [rtt, prober, responder] = self.spans;
        Ok(v1::RelayedReports {
            paths: pack(self.paths)?,
            complete: pack(self.complete)?,
            network_rtt_low: pack(rtt.0)?,
            network_rtt_high: pack(rtt.1)?,
            prober_delay_low: pack(prober.0)?,
            prober_delay_high: pack(prober.1)?,
            responder_delay_low: pack(responder.0)?,
            responder_delay_high: pack(responder.1)?,
            exact: pack(self.exact)?,
            odd: pack(self.odd)?,
        })
    }
}

/// A column that is being read.
#[derive(Debug)]
struct Column {
    name: &'static str,
    content: bytes::Bytes,
    at: usize,
}

impl Column {
    fn open(name: &'static str, packed: &[u8]) -> Result<Self, ColumnError> {
        let failed = |error| ColumnError::Pack {
            column: name,
            error,
        };
        let content = if packed.is_empty() {
            bytes::Bytes::new()
        } else {
            let size = unpacked_size(packed).map_err(failed)?;
            if size > LONGEST {
                return Err(ColumnError::TooLong { column: name, size });
            }
            unpack(packed, size).map_err(failed)?
        };
        Ok(Self {
            name,
            content,
            at: 0,
        })
    }

    /// Bytes that are not read.
    fn left(&self) -> usize {
        self.content.len() - self.at
    }

    fn varint(&mut self) -> Result<u64, ColumnError> {
        let mut left = self.content.get(self.at..).unwrap_or_default();
        let number = decode_varint(&mut left).map_err(|_| ColumnError::Short(self.name))?;
        self.at = self.content.len() - left.len();
        Ok(number)
    }

    fn number(&mut self, most: u64) -> Result<u64, ColumnError> {
        let number = self.varint()?;
        if number > most {
            let column = self.name;
            return Err(ColumnError::Number { column, number });
        }
        Ok(number)
    }

    fn byte(&mut self) -> Result<u8, ColumnError> {
        let byte = self.content.get(self.at).copied();
        let byte = byte.ok_or(ColumnError::Short(self.name))?;
        self.at += 1;
        Ok(byte)
    }

    fn end(&self) -> Result<(), ColumnError> {
        if self.left() == 0 {
            Ok(())
        } else {
            Err(ColumnError::Long(self.name))
        }
    }
}

/// What the columns say of one report.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// How far its path's number is above the one before.
    pub(super) gap: u64,
    pub(super) samples: Vec<Measurement>,
    pub(super) lost: u64,
    pub(super) invalid: Vec<(Invalid, u64)>,
}

/// Columns that are being read, report by report.
#[derive(Debug)]
pub(super) struct Columns {
    paths: Column,
    complete: Column,
    spans: [(Column, Column); 3],
    exact: Column,
    odd: Column,
    /// Reports before the next odd one; `None` when none is left.
    even: Option<u64>,
}

impl Columns {
    pub(super) fn open(message: &v1::RelayedReports) -> Result<Self, ColumnError> {
        let span = |place: usize, low: &[u8], high: &[u8]| {
            let (low_name, high_name) = SPANS[place];
            Ok((Column::open(low_name, low)?, Column::open(high_name, high)?))
        };
        let mut columns = Self {
            paths: Column::open("paths", &message.paths)?,
            complete: Column::open("complete", &message.complete)?,
            spans: [
                span(0, &message.network_rtt_low, &message.network_rtt_high)?,
                span(1, &message.prober_delay_low, &message.prober_delay_high)?,
                span(
                    2,
                    &message.responder_delay_low,
                    &message.responder_delay_high,
                )?,
            ],
            exact: Column::open("exact", &message.exact)?,
            odd: Column::open("odd", &message.odd)?,
            even: None,
        };
        columns.find_odd()?;
        Ok(columns)
    }

    /// The most reports that are left.
    pub(super) fn left(&self) -> usize {
        self.paths.left()
    }

    fn find_odd(&mut self) -> Result<(), ColumnError> {
        self.even = if self.odd.left() == 0 {
            None
        } else {
            Some(self.odd.varint()?)
        };
        Ok(())
    }

    pub(super) fn next(&mut self) -> Result<Read, ColumnError> {
        let mut read = Read {
            gap: self.paths.varint()?,
            ..Read::default()
        };
        let complete = self.complete.number(MAX_SAMPLES as u64)?;
        // What is not there is not allocated for.
        let complete = usize::try_from(complete).unwrap_or(usize::MAX);
        if complete > self.spans[0].0.left() {
            return Err(ColumnError::Short(SPANS[0].0));
        }
        read.samples.reserve_exact(complete);
        for _ in 0..complete {
            let [network_rtt, prober_delay, responder_delay] = self.spans()?;
            read.samples.push(Measurement {
                network_rtt,
                prober_delay,
                responder_delay,
            });
        }
        match self.even {
            Some(0) => {
                self.read_odd(&mut read)?;
                self.find_odd()?;
            }
            Some(even) => self.even = Some(even - 1),
            None => {}
        }
        Ok(read)
    }

    fn spans(&mut self) -> Result<[Nanos; 3], ColumnError> {
        let mut spans = [Nanos::ZERO; 3];
        for (span, (low, high)) in spans.iter_mut().zip(&mut self.spans) {
            let bin = u16::from_be_bytes([high.byte()?, low.byte()?]);
            *span = if bin == IS_EXACT {
                let exact = self.exact.number(i64::MAX.cast_unsigned())?;
                Nanos(exact.cast_signed())
            } else if bin < Bin::of(EXACT).number() + 1 {
                Bin::from_number(bin).middle()
            } else {
                let (column, number) = (high.name, u64::from(bin));
                return Err(ColumnError::Number { column, number });
            };
        }
        Ok(spans)
    }

    fn read_odd(&mut self, read: &mut Read) -> Result<(), ColumnError> {
        read.lost = self.odd.number(MAX_PROBES)?;
        let reasons = self.odd.number(Invalid::ALL.len() as u64)?;
        for _ in 0..reasons {
            let reason = self.odd.number(u64::from(u8::MAX))?;
            let reason = reason_from(i32::try_from(reason).unwrap_or_default());
            let reason = reason.map_err(ColumnError::Reason)?;
            let count = self.odd.number(MAX_PROBES)?;
            if read.invalid.iter().any(|(known, _)| *known == reason) {
                let number = i32::from(reason_to(reason)).unsigned_abs().into();
                let column = self.odd.name;
                return Err(ColumnError::Number { column, number });
            }
            read.invalid.push((reason, count));
        }
        Ok(())
    }

    /// Nothing may be left.
    pub(super) fn end(&self) -> Result<(), ColumnError> {
        self.paths.end()?;
        self.complete.end()?;
        for (low, high) in &self.spans {
            low.end()?;
            high.end()?;
        }
        self.exact.end()?;
        self.odd.end()
    }
}
