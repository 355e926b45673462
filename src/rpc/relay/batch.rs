//! A batch with numbers for its paths, as an owner keeps it.

use bytes::Bytes;
use prost::Message as _;

use super::paths::{PathBook, Told};
use crate::analysis::report::{Path, PathReport};
use crate::analysis::sketch::Bin;
use crate::measure::{Invalid, Measurement};
use crate::rpc::results::Received;
use crate::rpc::v1;
use crate::time::Nanos;
use crate::transport::CompletionClock;

/// Spans from here on are passed on as they are: hosts are judged by them.
pub(super) const EXACT: Nanos = Nanos(1_000_000);
/// In place of a bin: the span is among the exact ones.
pub(super) const IS_EXACT: u16 = (1 << Bin::BITS) - 1;

/// What a report has beside complete probes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Odd {
    /// Its place among the reports of the batch.
    pub(super) report: u32,
    pub(super) lost: u64,
    pub(super) invalid: Box<[(Invalid, u64)]>,
}

/// A batch with numbers for its paths ([`PathBook`]), which it uses until [`Condensed::release`].
#[derive(Debug)]
#[must_use = "its paths keep their numbers until they are released"]
pub struct Condensed {
    /// An encoded `ResultBatch` without reports.
    pub(super) rest: Bytes,
    /// Of each report: the number of its path, rising, and its complete probes.
    pub(super) reports: Box<[(u32, u32)]>,
    /// Of each complete probe the bins of network RTT, prober delay and responder delay.
    pub(super) bins: Box<[[u16; 3]]>,
    /// In the order of the bins.
    pub(super) exact: Box<[i64]>,
    pub(super) odd: Box<[Odd]>,
    pub(super) refused: u64,
    /// One of them: its path, and what is wrong with it.
    pub(super) refusal: Option<(String, String)>,
}

impl Condensed {
    /// Of a batch that was read. Reports whose paths get no number, because too many have one, are counted as refused.
    pub fn of(received: Received, book: &mut PathBook) -> Self {
        let Received { mut batch, refused } = received;
        let first = refused.kept().first();
        let mut refusal = first.map(|first| (first.path.clone(), first.error.to_string()));
        let mut left_out = refused.len() as u64;
        let mut numbered = Vec::with_capacity(batch.paths.len());
        for report in std::mem::take(&mut batch.paths) {
            match book.number(&report) {
                Some(number) => numbered.push((number, report)),
                None => {
                    left_out += 1;
                    let why = "the analyzer that took it keeps too many paths";
                    refusal.get_or_insert_with(|| (report.path.to_string(), why.to_owned()));
                }
            }
        }
        numbered.sort_by_key(|(number, _)| *number);
        let columns = Columns::of(&numbered);
        Self {
            rest: v1::ResultBatch::from(batch).encode_to_vec().into(),
            reports: columns.reports.into(),
            bins: columns.bins.into(),
            exact: columns.exact.into(),
            odd: columns.odd.into(),
            refused: left_out,
            refusal,
        }
    }

    /// Its paths may be forgotten.
    pub fn release(&self, book: &mut PathBook) {
        for (path, _) in &self.reports {
            book.release(*path);
        }
    }

    /// About how many bytes it takes in memory.
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.rest.len()
            + size_of_val(&*self.reports)
            + size_of_val(&*self.bins)
            + size_of_val(&*self.exact)
            + self.odd.len() * (size_of::<Odd>() + size_of::<(Invalid, u64)>())
            + self
                .refusal
                .as_ref()
                .map_or(0, |(path, why)| path.len() + why.len())
    }

    /// The paths that a stream has not described; from now on it has.
    pub fn untold(
        &self,
        book: &PathBook,
        told: &mut Told,
        definitions: &mut Vec<(u32, Path, CompletionClock)>,
    ) {
        for (number, _) in &self.reports {
            if let Some((path, clock)) = book.untold(*number, told) {
                definitions.push((*number, path.clone(), clock));
            }
        }
    }
}

#[derive(Default)]
struct Columns {
    reports: Vec<(u32, u32)>,
    bins: Vec<[u16; 3]>,
    exact: Vec<i64>,
    odd: Vec<Odd>,
}

impl Columns {
    fn of(numbered: &[(u32, PathReport)]) -> Self {
        let complete = numbered.iter().map(|(_, report)| report.samples.len());
        let mut columns = Self {
            reports: Vec::with_capacity(numbered.len()),
            bins: Vec::with_capacity(complete.sum()),
            ..Self::default()
        };
        for (place, (number, report)) in (0..).zip(numbered) {
            // Fewer than the limit on messages has bytes.
            let complete = u32::try_from(report.samples.len()).unwrap_or(u32::MAX);
            columns.reports.push((*number, complete));
            for sample in &report.samples {
                let bins = spans(sample).map(|span| columns.bin(span));
                columns.bins.push(bins);
            }
            if report.lost > 0 || !report.invalid.is_empty() {
                columns.odd.push(Odd {
                    report: place,
                    lost: report.lost,
                    invalid: report.invalid.as_slice().into(),
                });
            }
        }
        columns
    }

    fn bin(&mut self, span: Nanos) -> u16 {
        if span < EXACT {
            return Bin::of(span).number();
        }
        self.exact.push(span.0);
        IS_EXACT
    }
}

const fn spans(sample: &Measurement) -> [Nanos; 3] {
    [
        sample.network_rtt,
        sample.prober_delay,
        sample.responder_delay,
    ]
}
