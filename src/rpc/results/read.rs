//! Reads a batch from its bytes.
//!
//! Nearly all of a batch are reports, and they name the same few RNICs again and again. So reports are read where they lie:
//! their ends are looked up by their bytes ([`Ends`]), their columns go through lists that all reports of a batch share, and no
//! generated message is made of them. All other fields are prost's. What prost refuses is refused here and what it takes is
//! taken alike; a property test and the fuzz target `upload` compare both.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use prost::Message as _;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::ends::Ends;
use super::error::{BatchError, MAX_INTERVAL, MAX_SAMPLES, MAX_TRACES, ReportError};
use super::message::{class_from, clock_from, fidelity_from, kind_from, name, reason_from};
use super::refusals::Refusals;
use crate::analysis::hardware::MOST_PORTS;
use crate::analysis::report::{Batch, End, MAX_PROBES, Path, PathReport};
use crate::id::{Gid, HostName, ServiceName, UdpSourcePort};
use crate::measure::Measurement;
use crate::probe::ProbeKind;
use crate::probe::trace::Trace;
use crate::rpc::{hardware, v1};
use crate::time::{Nanos, WallTime};

/// A batch as far as it can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The usable reports.
    pub batch: Batch,
    /// The others.
    pub refused: Refusals,
}

impl Received {
    /// From an encoded `ResultBatch`.
    ///
    /// # Errors
    /// The bytes are no such message, or its sequence number is none.
    pub fn read(bytes: &[u8], ends: &Ends) -> Result<Self, BatchError> {
        received(bytes, ends)
    }

    /// Refuses reports about RNICs of other hosts than the agent's: they contradict its registration. An agent that does
    /// not name its host is believed.
    #[must_use]
    pub fn of_host(mut self, host: &HostName) -> Self {
        if host.as_str().is_empty() {
            return self;
        }
        let foreign = |report: &mut PathReport| report.path.source.host != *host;
        for report in self.batch.paths.extract_if(.., foreign) {
            let path = &report.path;
            self.refused.add(
                format_args!("{} -> {}", path.source.gid, path.target.gid),
                ReportError::ForeignSource {
                    source_host: path.source.host.clone(),
                    agent_host: host.clone(),
                },
            );
        }
        self
    }
}

impl Received {
    /// Whether a report or trace begins at an RNIC that `owner` says is another host's.
    pub fn has_foreign<'a>(&self, owner: impl Fn(Gid) -> Option<&'a HostName>) -> bool {
        let mut sources = self.batch.paths.iter().map(|report| report.path.source.gid);
        let mut traces = self.batch.traces.iter().map(|trace| trace.tuple.source);
        let mut before = None;
        let mut is_foreign = |gid| before.replace(gid) != Some(gid) && owner(gid).is_some();
        sources.any(&mut is_foreign) || traces.any(is_foreign)
    }

    /// Refuses the reports and traces that begin at an RNIC which `owner` says is another host's.
    pub fn refuse_foreign<'a>(
        &mut self,
        host: &HostName,
        owner: impl Fn(Gid) -> Option<&'a HostName>,
    ) {
        let mut refuse = |source: Gid, target: Gid| {
            let Some(owner) = owner(source) else {
                return false;
            };
            let error = ReportError::ForeignSource {
                source_host: owner.clone(),
                agent_host: host.clone(),
            };
            self.refused
                .add(format_args!("{source} -> {target}"), error);
            true
        };
        self.batch
            .paths
            .retain(|report| !refuse(report.path.source.gid, report.path.target.gid));
        self.batch
            .traces
            .retain(|trace| !refuse(trace.tuple.source, trace.tuple.target));
    }
}

/// Number of `ResultBatch.paths`.
const PATHS: u32 = 4;
/// No report that can be taken is shorter: it has two GIDs, each in a message.
const SHORTEST: usize = 40;

/// A field's value as it stands.
#[derive(Clone, Copy)]
enum Value<'a> {
    /// Varint.
    Number(u64),
    /// Length-delimited.
    Bytes(&'a [u8]),
    /// Of a form that no field of reports has.
    Other,
}

/// Takes the next field off.
fn field<'a>(bytes: &mut &'a [u8]) -> Result<(u32, Value<'a>), BatchError> {
    let (tag, wire_type) = decode_key(bytes)?;
    let value = match wire_type {
        WireType::Varint => Value::Number(decode_varint(bytes)?),
        WireType::LengthDelimited => {
            let length = usize::try_from(decode_varint(bytes)?).unwrap_or(usize::MAX);
            let (value, rest) = bytes
                .split_at_checked(length)
                .ok_or(BatchError::Truncated)?;
            *bytes = rest;
            Value::Bytes(value)
        }
        _ => {
            skip_field(wire_type, tag, bytes, DecodeContext::default())?;
            Value::Other
        }
    };
    Ok((tag, value))
}

/// An end of a path: an encoded `Peer`.
type Peer<'a> = Option<Cow<'a, [u8]>>;

/// A `PathReport` without its lists.
#[derive(Default)]
struct Report<'a> {
    source: Peer<'a>,
    target: Peer<'a>,
    kind: i32,
    source_port: u32,
    service: &'a str,
    sent: u64,
    lost: u64,
    clock: i32,
    focused: bool,
    traffic_class: Option<u32>,
    service_level: Option<u32>,
    fidelity: i32,
}

/// The lists of one report; used again for the next.
#[derive(Default)]
struct Lists {
    invalid: Vec<v1::InvalidCount>,
    network_rtt: Column,
    prober_delay: Column,
    responder_delay: Column,
}

/// The spans of a column, up to [`MAX_SAMPLES`], and how many there are.
#[derive(Default)]
struct Column {
    spans: Vec<i64>,
    count: usize,
}

impl Column {
    fn push(&mut self, span: i64) {
        self.count += 1;
        if self.count <= MAX_SAMPLES {
            self.spans.push(span);
        }
    }

    fn clear(&mut self) {
        self.spans.clear();
        self.count = 0;
    }
}

impl Lists {
    fn clear(&mut self) {
        self.invalid.clear();
        self.network_rtt.clear();
        self.prober_delay.clear();
        self.responder_delay.clear();
    }
}

impl<'a> Report<'a> {
    fn read(mut bytes: &'a [u8], lists: &mut Lists) -> Result<Self, BatchError> {
        lists.clear();
        let mut report = Self::default();
        while !bytes.is_empty() {
            let (tag, value) = field(&mut bytes)?;
            report.set(tag, value, lists)?;
        }
        Ok(report)
    }

    /// The numbers are those of `PathReport` in `analyzer.proto`.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "bits beyond a field's type are ignored, as by prost"
    )]
    fn set(&mut self, tag: u32, value: Value<'a>, lists: &mut Lists) -> Result<(), BatchError> {
        match (tag, value) {
            (1, Value::Bytes(part)) => join(&mut self.source, part)?,
            (2, Value::Bytes(part)) => join(&mut self.target, part)?,
            (3, Value::Number(kind)) => self.kind = kind as i32,
            (4, Value::Number(port)) => self.source_port = port as u32,
            (5, Value::Bytes(text)) => {
                self.service = std::str::from_utf8(text).map_err(|_| BatchError::Field(tag))?;
            }
            (6, Value::Number(sent)) => self.sent = sent,
            (7, Value::Number(lost)) => self.lost = lost,
            (8, Value::Bytes(entry)) => lists.invalid.push(v1::InvalidCount::decode(entry)?),
            (9, value) => column(&mut lists.network_rtt, tag, value)?,
            (10, value) => column(&mut lists.prober_delay, tag, value)?,
            (11, value) => column(&mut lists.responder_delay, tag, value)?,
            (12, Value::Number(clock)) => self.clock = clock as i32,
            (13, Value::Number(focused)) => self.focused = focused != 0,
            (14, Value::Number(class)) => self.traffic_class = Some(class as u32),
            (15, Value::Number(level)) => self.service_level = Some(level as u32),
            (16, Value::Number(fidelity)) => self.fidelity = fidelity as i32,
            (1..=16, _) => return Err(BatchError::Field(tag)),
            _ => {}
        }
        Ok(())
    }
}

/// A message that comes in several parts is what they are one after the other.
fn join<'a>(known: &mut Peer<'a>, part: &'a [u8]) -> Result<(), BatchError> {
    match known {
        None => *known = Some(Cow::Borrowed(part)),
        Some(known) => {
            // Each must be whole by itself.
            if let Cow::Borrowed(first) = known {
                v1::Peer::decode(*first)?;
            }
            v1::Peer::decode(part)?;
            known.to_mut().extend_from_slice(part);
        }
    }
    Ok(())
}

fn column(spans: &mut Column, tag: u32, value: Value<'_>) -> Result<(), BatchError> {
    match value {
        Value::Bytes(mut packed) => {
            while !packed.is_empty() {
                spans.push(signed(decode_varint(&mut packed)?));
            }
        }
        Value::Number(number) => spans.push(signed(number)),
        Value::Other => return Err(BatchError::Field(tag)),
    }
    Ok(())
}

/// The `sint64` of a varint.
const fn signed(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

/// A batch without its reports.
#[derive(Default)]
struct Rest {
    batch: v1::ResultBatch,
    /// How many reports there are.
    reports: usize,
    /// Traces beyond [`MAX_TRACES`], which are not kept: decoded, they are some hundred times as large.
    surplus_traces: usize,
}

fn without_reports(mut bytes: &[u8]) -> Result<Rest, BatchError> {
    let mut rest = Rest::default();
    while !bytes.is_empty() {
        let mut behind_key = bytes;
        let (tag, wire_type) = decode_key(&mut behind_key)?;
        if tag == PATHS {
            let (_, Value::Bytes(_)) = field(&mut bytes)? else {
                return Err(BatchError::Field(tag));
            };
            rest.reports += 1;
        } else {
            bytes = behind_key;
            let batch = &mut rest.batch;
            batch.merge_field(tag, wire_type, &mut bytes, DecodeContext::default())?;
            if batch.traces.len() > MAX_TRACES {
                batch.traces.pop();
                rest.surplus_traces += 1;
            }
            // With one more than are taken, which is refused.
            batch.hardware.truncate(MOST_PORTS + 1);
        }
    }
    Ok(rest)
}

/// What [`Received::read`] does.
fn received(bytes: &[u8], ends: &Ends) -> Result<Received, BatchError> {
    let Rest {
        batch,
        reports,
        surplus_traces,
    } = without_reports(bytes)?;
    if batch.sequence == 0 || i64::try_from(batch.sequence).is_err() {
        return Err(BatchError::Sequence(batch.sequence));
    }
    let interval =
        WallTime::from_nanos(batch.start_unix_ns)..WallTime::from_nanos(batch.end_unix_ns);
    let length = interval.end - interval.start;
    let usable = length > Nanos::ZERO && length <= Nanos::from(MAX_INTERVAL);
    let mut paths = Vec::with_capacity(reports.min(bytes.len() / SHORTEST));
    let mut refused = Refusals::default();
    let (mut lists, mut before) = (Lists::default(), Before::default());
    let mut left = bytes;
    while !left.is_empty() {
        let (PATHS, Value::Bytes(report)) = field(&mut left)? else {
            continue;
        };
        let report = Report::read(report, &mut lists)?;
        let source = before.read(&report.source, ends)?;
        let target = read_end(&report.target, ends)?;
        let checked = if usable {
            check(&report, &lists, source, target)
        } else {
            Err(ReportError::Interval(length.0))
        };
        match checked {
            Ok(report) => paths.push(report),
            Err(error) => refused.add(name_of(&report), error),
        }
    }
    let traces = traces(batch.traces, &mut refused);
    for _ in 0..surplus_traces {
        refused.add("none", ReportError::Traces);
    }
    let batch = Batch {
        sequence: batch.sequence,
        interval,
        paths,
        traces,
        counters: batch.counters.unwrap_or_default().into(),
        hardware: hardware::rises(batch.hardware, |place, error| {
            refused.add(place, ReportError::Hardware(error));
        }),
    };
    Ok(Received { batch, refused })
}

fn traces(messages: Vec<v1::PathTrace>, refused: &mut Refusals) -> Vec<Trace> {
    let mut traces = Vec::with_capacity(messages.len());
    for trace in messages {
        let path = name_of_trace(&trace);
        match Trace::try_from(trace) {
            Ok(trace) => traces.push(trace),
            Err(error) => refused.add(path, ReportError::Trace(error)),
        }
    }
    traces
}

/// The source of the report before: those of one RNIC follow one another.
#[derive(Default)]
struct Before<'a>(Option<(&'a [u8], Arc<End>)>);

impl<'a> Before<'a> {
    fn read(&mut self, source: &Peer<'a>, ends: &Ends) -> Result<ReadEnd, BatchError> {
        let Some(Cow::Borrowed(said)) = source else {
            return read_end(source, ends);
        };
        if let Some((known, end)) = &self.0
            && known == said
        {
            return Ok(Some(Ok(Arc::clone(end))));
        }
        let read = ends.read(said)?;
        if let Ok(end) = &read {
            self.0 = Some((said, Arc::clone(end)));
        }
        Ok(Some(read))
    }
}

/// `None` for an end that is missing.
type ReadEnd = Option<Result<Arc<End>, ReportError>>;

fn read_end(peer: &Peer<'_>, ends: &Ends) -> Result<ReadEnd, BatchError> {
    Ok(match peer {
        Some(said) => Some(ends.read(said)?),
        None => None,
    })
}

fn check(
    report: &Report<'_>,
    lists: &Lists,
    source: ReadEnd,
    target: ReadEnd,
) -> Result<PathReport, ReportError> {
    let kind = kind_from(report.kind, report.focused)?;
    let clock = clock_from(report.clock)?;
    let service = match (name(report.service, "service")?, kind) {
        ("", _) => None,
        (service, ProbeKind::ServiceTracing) => Some(ServiceName::new(service)),
        _ => return Err(ReportError::Service),
    };
    let source_port = match report.source_port {
        0 => None,
        port => Some(
            u16::try_from(port)
                .map(UdpSourcePort)
                .map_err(|_| ReportError::SourcePort(port))?,
        ),
    };
    let path = Path {
        source: source.ok_or(ReportError::Missing("source"))??,
        target: target.ok_or(ReportError::Missing("target"))??,
        kind,
        source_port,
        service,
        class: class_from(report.traffic_class, report.service_level)?,
        // Of other probes it says nothing.
        fidelity: fidelity_from(report.fidelity).filter(|_| kind == ProbeKind::ServiceTracing),
    };
    let mut checked = PathReport::empty(path, clock);
    count(report, lists, &mut checked)?;
    Ok(checked)
}

/// Takes the numbers over, if they add up.
fn count(report: &Report<'_>, lists: &Lists, checked: &mut PathReport) -> Result<(), ReportError> {
    let (sent, lost) = (report.sent, report.lost);
    let mut invalid = 0u64;
    for entry in &lists.invalid {
        invalid = invalid.saturating_add(entry.count);
        if entry.count > 0 {
            checked.add_invalid(reason_from(entry.reason)?, entry.count);
        }
    }
    if sent > MAX_PROBES {
        return Err(ReportError::TooMany(sent));
    }
    if lost > sent {
        return Err(ReportError::LostExceedsSent { lost, sent });
    }
    checked.lost = lost;
    checked.samples = samples(lists)?;
    let complete = checked.samples.len();
    let sum = lost.saturating_add(invalid).saturating_add(complete as u64);
    if sum != sent {
        return Err(ReportError::Sum {
            sent,
            lost,
            invalid,
            complete,
        });
    }
    Ok(())
}

fn samples(lists: &Lists) -> Result<Vec<Measurement>, ReportError> {
    let (network_rtt, prober_delay) = (&lists.network_rtt, &lists.prober_delay);
    let responder_delay = &lists.responder_delay;
    let lengths = (network_rtt.count, prober_delay.count, responder_delay.count);
    if lengths.0 != lengths.1 || lengths.0 != lengths.2 {
        return Err(ReportError::Columns(lengths.0, lengths.1, lengths.2));
    }
    if lengths.0 > MAX_SAMPLES {
        return Err(ReportError::Samples(lengths.0));
    }
    let others = prober_delay.spans.iter().zip(&responder_delay.spans);
    let spans = network_rtt.spans.iter().zip(others);
    let mut samples = Vec::with_capacity(lengths.0);
    for (network_rtt, (prober_delay, responder_delay)) in spans {
        let smallest = *network_rtt.min(prober_delay).min(responder_delay);
        if smallest < 0 {
            return Err(ReportError::NegativeSpan(smallest));
        }
        samples.push(Measurement {
            network_rtt: Nanos(*network_rtt),
            prober_delay: Nanos(*prober_delay),
            responder_delay: Nanos(*responder_delay),
        });
    }
    Ok(samples)
}

/// What identifies a report in messages, whatever is wrong with it.
struct Name {
    source: Option<Gid>,
    target: Option<Gid>,
    port: u32,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gid = |gid: Option<Gid>| gid.map_or_else(|| "?".to_owned(), |gid| gid.to_string());
        let (source, target) = (gid(self.source), gid(self.target));
        write!(f, "{source} -> {target} port {}", self.port)
    }
}

fn name_of(report: &Report<'_>) -> Name {
    let gid = |peer: &Peer<'_>| {
        let peer = v1::Peer::decode(peer.as_deref()?).ok()?;
        Gid::try_from(&*peer.gid).ok()
    };
    Name {
        source: gid(&report.source),
        target: gid(&report.target),
        port: report.source_port,
    }
}

fn name_of_trace(trace: &v1::PathTrace) -> Name {
    Name {
        source: Gid::try_from(&*trace.source_gid).ok(),
        target: Gid::try_from(&*trace.target_gid).ok(),
        port: trace.source_port,
    }
}
