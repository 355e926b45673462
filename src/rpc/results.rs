//! Conversions of result batches. A report that contradicts itself is refused by itself; the rest of its batch counts.

mod ends;
mod read;
mod refusals;

use std::time::Duration;

pub use ends::Ends;
pub use refusals::Refusals;

use super::hardware::HardwareError;
use super::traces::TraceError;
use super::v1;
use crate::analysis::report::{AgentCounters, Batch, End, MAX_PROBES, PathReport};
use crate::id::{DeviceName, Gid, HostName, IdError, MAX_NAME, Qpn, TorId};
use crate::measure::{Invalid, Measurement};
use crate::probe::ProbeKind;
use crate::time::Nanos;
use crate::transport::CompletionClock;

/// The longest interval of a batch: that of the longest window, since a longer one could not be placed in any.
pub const MAX_INTERVAL: Duration = Duration::from_mins(2);

/// The most traces of one batch; agents make a few per second.
pub const MAX_TRACES: usize = 4096;

/// Why a batch cannot be taken at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Sequence numbers begin at 1 and fit 63 bits.
    #[error("sequence {0} is not one: batches are numbered from 1 to 9223372036854775807")]
    Sequence(u64),
    /// Its bytes are no message.
    #[error(transparent)]
    Message(#[from] prost::DecodeError),
    /// A length reaches beyond the bytes.
    #[error("the message ends before one of its fields")]
    Truncated,
    /// A field of a report, by its number, is of another type or no UTF-8.
    #[error("field {0} of the message has not its form")]
    Field(u32),
}

/// Why a report was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// An end of the path is missing.
    #[error("the {0} is missing")]
    Missing(&'static str),
    /// A GID or QPN has not its form.
    #[error(transparent)]
    Id(#[from] IdError),
    /// A name is too long.
    #[error("the name of the {what} has {length} bytes, more than {MAX_NAME}")]
    Name {
        /// Whose name.
        what: &'static str,
        /// Its length.
        length: usize,
    },
    /// A number that stands for something this version does not know.
    #[error("{what} {number} is unknown")]
    Unknown {
        /// What the number stands for.
        what: &'static str,
        /// The number.
        number: i32,
    },
    /// A UDP port has 16 bits.
    #[error("source port {0} has more than 16 bits")]
    SourcePort(u32),
    /// Only service tracing has a service.
    #[error("a service is named on a path that is not probed for one")]
    Service,
    /// The three columns must have an entry for each complete probe.
    #[error("columns of {0}, {1} and {2} spans")]
    Columns(usize, usize, usize),
    /// A span is negative: it would be an invalid measurement.
    #[error("a complete probe has a negative span of {0} ns")]
    NegativeSpan(i64),
    /// More lost than sent.
    #[error("{lost} lost of {sent} sent")]
    LostExceedsSent {
        /// As reported.
        lost: u64,
        /// As reported.
        sent: u64,
    },
    /// What was lost, invalid and measured does not add up to what was sent.
    #[error("{sent} sent, but {lost} lost, {invalid} invalid and {complete} complete")]
    Sum {
        /// As reported.
        sent: u64,
        /// As reported.
        lost: u64,
        /// Sum of the invalid counts.
        invalid: u64,
        /// Length of the columns.
        complete: usize,
    },
    /// A count is out of all proportion.
    #[error("{0} probes in one interval, more than {MAX_PROBES}")]
    TooMany(u64),
    /// The batch's interval is empty, reversed or longer than [`MAX_INTERVAL`].
    #[error("the interval of the batch, {0} ns, is not between 1 ns and {MAX_INTERVAL:?}")]
    Interval(i64),
    /// What is wrong with a trace.
    #[error("trace: {0}")]
    Trace(#[from] TraceError),
    /// An agent reports what it has sent from its own host.
    #[error("its source is on host `{source_host}`, the agent is on `{agent_host}`")]
    ForeignSource {
        /// As reported.
        source_host: HostName,
        /// As the agent says at the beginning of the upload.
        agent_host: HostName,
    },
    /// A batch has far fewer traces.
    #[error("more than {MAX_TRACES} traces in one batch")]
    Traces,
    /// What is wrong with hardware counters.
    #[error("hardware counters: {0}")]
    Hardware(#[from] HardwareError),
}

/// A report that was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("report of path {path}: {error}")]
pub struct Refusal {
    /// The path, as far as it can be told.
    pub path: String,
    /// What is wrong.
    pub error: ReportError,
}

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
        read::received(bytes, ends)
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

impl From<Batch> for v1::ResultBatch {
    fn from(batch: Batch) -> Self {
        Self {
            sequence: batch.sequence,
            start_unix_ns: batch.interval.start.nanos(),
            end_unix_ns: batch.interval.end.nanos(),
            paths: batch.paths.into_iter().map(Into::into).collect(),
            counters: Some(batch.counters.into()),
            traces: batch.traces.into_iter().map(Into::into).collect(),
            hardware: batch.hardware.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<PathReport> for v1::PathReport {
    fn from(report: PathReport) -> Self {
        let column = |span: fn(&Measurement) -> Nanos| -> Vec<i64> {
            report.samples.iter().map(|sample| span(sample).0).collect()
        };
        Self {
            sent: report.sent(),
            lost: report.lost,
            invalid: report
                .invalid
                .iter()
                .map(|(reason, count)| v1::InvalidCount {
                    reason: reason_to(*reason).into(),
                    count: *count,
                })
                .collect(),
            network_rtt_ns: column(|sample| sample.network_rtt),
            prober_delay_ns: column(|sample| sample.prober_delay),
            responder_delay_ns: column(|sample| sample.responder_delay),
            kind: kind_to(report.path.kind).into(),
            source_port: report.path.source_port.map_or(0, |port| u32::from(port.0)),
            service: report
                .path
                .service
                .map_or_else(String::new, |service| service.as_str().to_owned()),
            source: Some((&*report.path.source).into()),
            target: Some((&*report.path.target).into()),
            clock: clock_to(report.clock).into(),
        }
    }
}

fn name<T: AsRef<str>>(text: T, what: &'static str) -> Result<T, ReportError> {
    let length = text.as_ref().len();
    if length > MAX_NAME {
        return Err(ReportError::Name { what, length });
    }
    Ok(text)
}

fn end(peer: v1::Peer) -> Result<End, ReportError> {
    let gid = Gid::try_from(&*peer.gid)?;
    if gid.is_zero() {
        return Err(IdError::Gid(gid.to_string()).into());
    }
    Ok(End {
        gid,
        qpn: Qpn::try_from(peer.qpn)?,
        host: HostName::new(name(peer.host, "host")?),
        tor: TorId::new(name(peer.tor, "ToR")?),
        device: DeviceName::new(name(peer.device, "device")?),
    })
}

impl From<&End> for v1::Peer {
    fn from(end: &End) -> Self {
        Self {
            gid: end.gid.bytes().to_vec().into(),
            qpn: end.qpn.get(),
            host: end.host.as_str().to_owned(),
            tor: end.tor.as_str().to_owned(),
            device: end.device.as_str().to_owned(),
        }
    }
}

impl From<v1::AgentCounters> for AgentCounters {
    fn from(message: v1::AgentCounters) -> Self {
        Self {
            results_dropped: message.results_dropped,
            batches_dropped: message.batches_dropped,
            malformed_packets: message.malformed_packets,
            unmatched_acks: message.unmatched_acks,
            probes_answered: message.probes_answered,
            source_ports_as_meant: message.source_ports_as_meant,
            source_ports_otherwise: message.source_ports_otherwise,
        }
    }
}

impl From<AgentCounters> for v1::AgentCounters {
    fn from(counters: AgentCounters) -> Self {
        Self {
            results_dropped: counters.results_dropped,
            batches_dropped: counters.batches_dropped,
            malformed_packets: counters.malformed_packets,
            unmatched_acks: counters.unmatched_acks,
            probes_answered: counters.probes_answered,
            source_ports_as_meant: counters.source_ports_as_meant,
            source_ports_otherwise: counters.source_ports_otherwise,
        }
    }
}

/// Both directions between an enum of the domain and one of the messages.
macro_rules! numbers {
    ($what:literal $domain:ident $message:ident $from:ident $to:ident { $($variant:ident = $number:ident),* $(,)? }) => {
        fn $from(number: i32) -> Result<$domain, ReportError> {
            match v1::$message::try_from(number) {
                $(Ok(v1::$message::$number) => Ok($domain::$variant),)*
                Ok(v1::$message::Unspecified) | Err(_) => Err(ReportError::Unknown { what: $what, number }),
            }
        }

        const fn $to(value: $domain) -> v1::$message {
            match value {
                $($domain::$variant => v1::$message::$number,)*
            }
        }
    };
}

numbers!("probe kind" ProbeKind ProbeKind kind_from kind_to {
    TorMesh = TorMesh,
    InterTor = InterTor,
    ServiceTracing = ServiceTracing,
});

numbers!("completion clock" CompletionClock CompletionClock clock_from clock_to {
    HardwareWall = HardwareWall,
    HardwareRaw = HardwareRaw,
    Kernel = Kernel,
    Software = Software,
    Emulated = Emulated,
});

numbers!("invalid reason" Invalid InvalidReason reason_from reason_to {
    NegativeNetworkRtt = NegativeNetworkRtt,
    NegativeProberDelay = NegativeProberDelay,
    NegativeResponderDelay = NegativeResponderDelay,
    SendFailed = SendFailed,
    SecondAckMissing = SecondAckMissing,
    EndpointReset = EndpointReset,
    SendCompletionMissing = SendCompletionMissing,
});

#[cfg(test)]
mod tests;
