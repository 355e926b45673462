//! Results of one path in one slot, packed.

use super::super::report::PathReport;
use super::super::sketch::{Bin, Sketch};
use super::slot::Slot;
use crate::measure::Invalid;
use crate::probe::ProbeKind;
use crate::time::Nanos;

/// A cell is a key of [`KEY_BITS`] above a count: the upper three bits of the key say what is counted, the others which bin
/// or reason. A count that is full is continued in another cell of the same key.
const COUNT_BITS: u32 = 32 - KEY_BITS;
const KEY_BITS: u32 = Bin::BITS + 3;
const COUNT_MAX: u32 = (1 << COUNT_BITS) - 1;

const NETWORK_RTT: u16 = 0;
const PROBER_DELAY: u16 = 1;
const RESPONDER_DELAY: u16 = 2;
const INVALID: u16 = 3;
/// Round trips of focus: they say whether a path is slow, and are not in its distribution.
const FOCUSED_RTT: u16 = 4;
/// Probes of focus. The numbers are 0 for all, 1 for the lost, 2 for the invalid, 3 for those that could not be sent, 4 for those
/// whose fate is not known, 5 for those whose first ACK came alone.
const FOCUSED: u16 = 5;

/// An RTT cannot be trusted when the responder took longer than this: the clocks of two RNICs run apart by up to 50 ppm,
/// which over 10 ms is half a microsecond, and over 300 ms more than most round trips take.
pub(super) const TRUSTED_RESPONDER_DELAY: Nanos = Nanos(10_000_000);

/// Place of a reason in [`Invalid::ALL`].
pub(super) fn reason_number(reason: Invalid) -> usize {
    Invalid::ALL
        .iter()
        .position(|known| *known == reason)
        .unwrap_or_default()
}

/// Probes of [`ProbeKind::Focus`]: they were sent because of earlier outcomes. As evidence they count like all others. Loss ratios and
/// percentiles over several paths leave them out: with them, the paths that lose most would weigh most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Focused {
    /// All.
    pub sent: u64,
    /// Without an ACK in time.
    pub lost: u64,
    /// Measurements that are not valid, for any reason.
    pub invalid: u64,
    /// Those of them that could not be sent.
    pub unsent: u64,
    /// Those of them of which nobody knows whether they were answered.
    pub unknown: u64,
    /// Those of them whose first ACK came, and no second.
    pub half_answered: u64,
}

impl Focused {
    const fn count(&mut self, number: u16, count: u64) {
        let sum = match number {
            0 => &mut self.sent,
            1 => &mut self.lost,
            2 => &mut self.invalid,
            3 => &mut self.unsent,
            4 => &mut self.unknown,
            5 => &mut self.half_answered,
            _ => return,
        };
        *sum = sum.saturating_add(count);
    }
}

/// What one path counted in one slot, probes of focus included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotCounts {
    /// Which slot.
    pub slot: Slot,
    /// All probes.
    pub sent: u64,
    /// Probes without an ACK in time.
    pub lost: u64,
    /// Measurements that are not valid, for any reason.
    pub invalid: u64,
    /// Those of them that could not be sent.
    pub unsent: u64,
    /// Those of them of which nobody knows whether they were answered ([`Invalid::is_answered`]).
    pub unknown: u64,
    /// Those of them whose first ACK came, and no second.
    pub half_answered: u64,
    /// The part of all of these that focus sent.
    pub focused: Focused,
}

impl SlotCounts {
    /// Probes that were lost or answered: all but those whose fate is not known.
    pub const fn told(&self) -> u64 {
        self.sent.saturating_sub(self.unknown)
    }
}

/// How many measurements are invalid for reasons of one kind.
fn count_of(report: &PathReport, is_of_kind: impl Fn(Invalid) -> bool) -> u64 {
    let invalid = report.invalid.iter();
    invalid
        .filter(|(reason, _)| is_of_kind(*reason))
        .fold(0, |sum, (_, count)| sum.saturating_add(*count))
}

/// Results of one path in one slot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket<'a> {
    pub(super) slot: Slot,
    /// Without focus.
    pub(super) sent: u32,
    pub(super) lost: u32,
    /// Whether any cell counts something else than measurements: nearly no bucket has one, and then its counts are here.
    pub(super) has_others: bool,
    /// Sorted by key.
    pub(super) cells: &'a [u32],
}

/// Results of one path in one slot while a report is added to them.
#[derive(Debug)]
pub(super) struct Filling {
    /// Without focus.
    pub(super) sent: u32,
    pub(super) lost: u32,
    pub(super) has_others: bool,
    /// Sorted by key.
    pub(super) cells: Vec<u32>,
}

/// What paths and slots add up to.
#[derive(Debug, Default)]
pub struct Sums {
    /// All probes but those of focus.
    pub sent: u64,
    /// Probes without an ACK in time.
    pub lost: u64,
    /// Measurements that are not valid, in the order of [`Invalid::ALL`].
    pub invalid: [u64; Invalid::ALL.len()],
    /// Round trips that can be trusted.
    pub network_rtt: Sketch,
    /// Time that the prober's host added.
    pub prober_delay: Sketch,
    /// Time that the responder's host added.
    pub responder_delay: Sketch,
    /// Probes of focus; nothing else here counts them.
    pub focused: Focused,
}

impl Sums {
    /// The same with the probes and losses of focus: right for one path, whose probes all cross the same links.
    pub(crate) fn with_focused(mut self) -> Self {
        self.sent = self.sent.saturating_add(self.focused.sent);
        self.lost = self.lost.saturating_add(self.focused.lost);
        self
    }
}

impl Filling {
    /// Nothing yet, in this memory.
    pub(super) fn new(mut cells: Vec<u32>) -> Self {
        cells.clear();
        Self {
            sent: 0,
            lost: 0,
            has_others: false,
            cells,
        }
    }

    /// Takes in what was there.
    pub(super) fn fill(&mut self, bucket: &Bucket<'_>) {
        self.sent = bucket.sent;
        self.lost = bucket.lost;
        self.has_others = bucket.has_others;
        self.cells.extend_from_slice(bucket.cells);
    }

    pub(super) fn add(&mut self, report: &PathReport) {
        if report.path.kind == ProbeKind::Focus {
            return self.add_focused(report);
        }
        // A slot of 5 s cannot hold so many probes of one path; who says so is counted as far as it goes.
        let few = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        self.sent = self.sent.saturating_add(few(report.sent()));
        self.lost = self.lost.saturating_add(few(report.lost));
        for (reason, count) in &report.invalid {
            let number = u16::try_from(reason_number(*reason)).unwrap_or_default();
            self.count(key(INVALID, number), *count);
        }
        for sample in &report.samples {
            if sample.responder_delay <= TRUSTED_RESPONDER_DELAY {
                self.span(NETWORK_RTT, sample.network_rtt);
            }
            self.span(PROBER_DELAY, sample.prober_delay);
            self.span(RESPONDER_DELAY, sample.responder_delay);
        }
    }

    fn add_focused(&mut self, report: &PathReport) {
        let counts = [
            report.sent(),
            report.lost,
            report.invalid_total(),
            count_of(report, |reason| reason == Invalid::SendFailed),
            count_of(report, |reason| !reason.is_answered()),
            count_of(report, |reason| reason == Invalid::SecondAckMissing),
        ];
        for (number, count) in (0..).zip(counts) {
            self.count(key(FOCUSED, number), count);
        }
        for sample in &report.samples {
            if sample.responder_delay <= TRUSTED_RESPONDER_DELAY {
                self.span(FOCUSED_RTT, sample.network_rtt);
            }
        }
    }

    fn span(&mut self, what: u16, span: Nanos) {
        self.count(key(what, Bin::of(span).number()), 1);
    }

    fn count(&mut self, key: u32, mut count: u64) {
        self.has_others |= key >= u32::from(INVALID) << Bin::BITS;
        // The last cell of the key is the one that may have room.
        let mut at = self.cells.partition_point(|cell| cell >> COUNT_BITS <= key);
        while count > 0 {
            let before = at.checked_sub(1).and_then(|at| self.cells.get_mut(at));
            match before {
                Some(cell) if *cell >> COUNT_BITS == key && *cell & COUNT_MAX < COUNT_MAX => {
                    let room = COUNT_MAX - (*cell & COUNT_MAX);
                    let part = u32::try_from(count).unwrap_or(u32::MAX).min(room);
                    *cell += part;
                    count -= u64::from(part);
                }
                _ => {
                    self.cells.insert(at, key << COUNT_BITS);
                    at += 1;
                }
            }
        }
    }
}

impl<'a> Bucket<'a> {
    /// Counts without the distributions.
    pub(super) fn counts(&self) -> SlotCounts {
        let (sent, lost) = (u64::from(self.sent), u64::from(self.lost));
        if !self.has_others {
            return SlotCounts {
                slot: self.slot,
                sent,
                lost,
                invalid: 0,
                unsent: 0,
                unknown: 0,
                half_answered: 0,
                focused: Focused::default(),
            };
        }
        let [mut invalid, mut unsent, mut unknown, mut half_answered] = [0; 4];
        for cell in self.cells_of(INVALID) {
            let count = u64::from(cell & COUNT_MAX);
            let (_, reason) = unpack(cell >> COUNT_BITS);
            let Some(reason) = Invalid::ALL.get(usize::from(reason)) else {
                continue;
            };
            invalid += count;
            match reason {
                Invalid::SendFailed => unsent += count,
                Invalid::SecondAckMissing => half_answered += count,
                _ => {}
            }
            if !reason.is_answered() {
                unknown += count;
            }
        }
        let mut focused = Focused::default();
        for cell in self.cells_of(FOCUSED) {
            let (_, number) = unpack(cell >> COUNT_BITS);
            focused.count(number, u64::from(cell & COUNT_MAX));
        }
        SlotCounts {
            slot: self.slot,
            sent: sent.saturating_add(focused.sent),
            lost: lost.saturating_add(focused.lost),
            invalid: focused.invalid.saturating_add(invalid),
            unsent: focused.unsent.saturating_add(unsent),
            unknown: focused.unknown.saturating_add(unknown),
            half_answered: focused.half_answered.saturating_add(half_answered),
            focused,
        }
    }

    /// Trusted round trips, and those of them that took longer than `limit`.
    pub(super) fn slower_than(&self, limit: Nanos) -> (u64, u64) {
        let (mut all, mut slow) = (0, 0);
        for what in [NETWORK_RTT, FOCUSED_RTT] {
            let limit = key(what, Bin::of(limit).number());
            for cell in self.cells_of(what) {
                let count = u64::from(cell & COUNT_MAX);
                all += count;
                if cell >> COUNT_BITS > limit {
                    slow += count;
                }
            }
        }
        (all, slow)
    }

    /// Trusted round trips, and the bin of the longest.
    pub(super) fn trusted(&self) -> (u64, Bin) {
        let (mut all, mut longest) = (0, Bin::from_number(0));
        for what in [NETWORK_RTT, FOCUSED_RTT] {
            for cell in self.cells_of(what) {
                all += u64::from(cell & COUNT_MAX);
                let (_, number) = unpack(cell >> COUNT_BITS);
                longest = longest.max(Bin::from_number(number));
            }
        }
        (all, longest)
    }

    pub(super) fn add_rtt_to(&self, sketch: &mut Sketch) {
        for cell in self.cells_of(NETWORK_RTT) {
            let (_, number) = unpack(cell >> COUNT_BITS);
            sketch.add_many(Bin::from_number(number), u64::from(cell & COUNT_MAX));
        }
    }

    fn cells_of(&self, what: u16) -> &'a [u32] {
        let first = u32::from(what) << (Bin::BITS + COUNT_BITS);
        let from = self.cells.partition_point(|cell| *cell < first);
        let next = (u64::from(what) + 1) << (Bin::BITS + COUNT_BITS);
        let to = self.cells.partition_point(|cell| u64::from(*cell) < next);
        self.cells.get(from..to).unwrap_or_default()
    }

    pub(super) fn add_to(&self, sums: &mut Sums) {
        sums.sent = sums.sent.saturating_add(u64::from(self.sent));
        sums.lost = sums.lost.saturating_add(u64::from(self.lost));
        for cell in self.cells {
            let count = u64::from(cell & COUNT_MAX);
            let (what, number) = unpack(cell >> COUNT_BITS);
            let sketch = match what {
                NETWORK_RTT => &mut sums.network_rtt,
                PROBER_DELAY => &mut sums.prober_delay,
                RESPONDER_DELAY => &mut sums.responder_delay,
                FOCUSED_RTT => continue,
                FOCUSED => {
                    sums.focused.count(number, count);
                    continue;
                }
                _ => {
                    if let Some(sum) = sums.invalid.get_mut(usize::from(number)) {
                        *sum = sum.saturating_add(count);
                    }
                    continue;
                }
            };
            sketch.add_many(Bin::from_number(number), count);
        }
    }
}

fn key(what: u16, number: u16) -> u32 {
    u32::from(what) << Bin::BITS | u32::from(number)
}

fn unpack(key: u32) -> (u16, u16) {
    #[expect(clippy::cast_possible_truncation, reason = "15 bits")]
    let key = key as u16;
    (key >> Bin::BITS, key & ((1 << Bin::BITS) - 1))
}
