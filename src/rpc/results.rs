//! Conversions of result batches. A report that contradicts itself is refused by itself; the rest of its batch counts.

use std::time::Duration;

use super::hardware::{self, HardwareError};
use super::traces::TraceError;
use super::v1;
use crate::analysis::report::{AgentCounters, Batch, End, MAX_PROBES, Path, PathReport};
use crate::id::{DeviceName, Gid, HostName, IdError, Qpn, ServiceName, TorId, UdpSourcePort};
use crate::measure::{Invalid, Measurement};
use crate::probe::Kind;
use crate::probe::trace::Trace;
use crate::time::{Nanos, WallTime};
use crate::transport::CompletionClock;

/// The longest interval of a batch: that of the longest window, since a longer one could not be placed in any.
pub const MAX_INTERVAL: Duration = Duration::from_mins(2);

/// The most traces of one batch; agents make a few per second.
pub const MAX_TRACES: usize = 4096;

/// The longest name of a host, ToR, device, service or agent, in bytes.
pub const MAX_NAME: usize = 256;

/// Why a batch cannot be taken at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Sequence numbers begin at 1 and fit 63 bits.
    #[error("sequence {0} is not one: batches are numbered from 1 to 9223372036854775807")]
    Sequence(u64),
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
    pub refused: Vec<Refusal>,
}

impl Received {
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
            self.refused.push(Refusal {
                path: format!("{} -> {}", path.source.gid, path.target.gid),
                error: ReportError::ForeignSource {
                    source_host: path.source.host.clone(),
                    agent_host: host.clone(),
                },
            });
        }
        self
    }
}

impl TryFrom<v1::ResultBatch> for Received {
    type Error = BatchError;

    fn try_from(message: v1::ResultBatch) -> Result<Self, BatchError> {
        if message.sequence == 0 || i64::try_from(message.sequence).is_err() {
            return Err(BatchError::Sequence(message.sequence));
        }
        let interval =
            WallTime::from_nanos(message.start_unix_ns)..WallTime::from_nanos(message.end_unix_ns);
        let length = interval.end - interval.start;
        let usable = length > Nanos::ZERO && length <= Nanos::from(MAX_INTERVAL);
        let mut paths = Vec::with_capacity(message.paths.len());
        let mut refused = Vec::new();
        for report in message.paths {
            let path = name_of(&report);
            let report = if usable {
                PathReport::try_from(report)
            } else {
                Err(ReportError::Interval(length.0))
            };
            match report {
                Ok(report) => paths.push(report),
                Err(error) => refused.push(Refusal {
                    path: path.to_string(),
                    error,
                }),
            }
        }
        let mut traces = Vec::with_capacity(message.traces.len().min(MAX_TRACES));
        for trace in message.traces {
            let path = name_of_trace(&trace);
            let trace = if traces.len() < MAX_TRACES {
                Trace::try_from(trace).map_err(ReportError::Trace)
            } else {
                Err(ReportError::Traces)
            };
            match trace {
                Ok(trace) => traces.push(trace),
                Err(error) => refused.push(Refusal {
                    path: path.to_string(),
                    error,
                }),
            }
        }
        let batch = Batch {
            sequence: message.sequence,
            interval,
            paths,
            traces,
            counters: message.counters.unwrap_or_default().into(),
            hardware: hardware::rises(message.hardware, &mut refused),
        };
        Ok(Self { batch, refused })
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

/// What identifies a report in messages, whatever is wrong with it.
struct Name {
    source: Option<Gid>,
    target: Option<Gid>,
    port: u32,
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let gid = |gid: Option<Gid>| gid.map_or_else(|| "?".to_owned(), |gid| gid.to_string());
        let (source, target) = (gid(self.source), gid(self.target));
        write!(f, "{source} -> {target} port {}", self.port)
    }
}

fn name_of(report: &v1::PathReport) -> Name {
    let gid = |peer: &Option<v1::Peer>| Gid::try_from(&*peer.as_ref()?.gid).ok();
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

impl TryFrom<v1::PathReport> for PathReport {
    type Error = ReportError;

    fn try_from(message: v1::PathReport) -> Result<Self, ReportError> {
        let kind = kind_from(message.kind)?;
        let clock = clock_from(message.clock)?;
        let service = match (name(message.service, "service")?, kind) {
            (service, _) if service.is_empty() => None,
            (service, Kind::ServiceTracing) => Some(ServiceName::new(service)),
            _ => return Err(ReportError::Service),
        };
        let source_port = match message.source_port {
            0 => None,
            port => Some(
                u16::try_from(port)
                    .map(UdpSourcePort)
                    .map_err(|_| ReportError::SourcePort(port))?,
            ),
        };
        let path = Path {
            source: end(message.source, "source")?,
            target: end(message.target, "target")?,
            kind,
            source_port,
            service,
        };
        let mut report = Self::empty(path, clock);
        let mut invalid = 0u64;
        for entry in message.invalid {
            invalid = invalid.saturating_add(entry.count);
            if entry.count > 0 {
                report.add_invalid(reason_from(entry.reason)?, entry.count);
            }
        }
        if message.sent > MAX_PROBES {
            return Err(ReportError::TooMany(message.sent));
        }
        if message.lost > message.sent {
            return Err(ReportError::LostExceedsSent {
                lost: message.lost,
                sent: message.sent,
            });
        }
        report.lost = message.lost;
        report.samples = samples(
            &message.network_rtt_ns,
            &message.prober_delay_ns,
            &message.responder_delay_ns,
        )?;
        let complete = report.samples.len();
        let sum = message
            .lost
            .saturating_add(invalid)
            .saturating_add(complete as u64);
        if sum != message.sent {
            return Err(ReportError::Sum {
                sent: message.sent,
                lost: message.lost,
                invalid,
                complete,
            });
        }
        Ok(report)
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
            source: Some(report.path.source.into()),
            target: Some(report.path.target.into()),
            clock: clock_to(report.clock).into(),
        }
    }
}

fn samples(
    network_rtt: &[i64],
    prober_delay: &[i64],
    responder_delay: &[i64],
) -> Result<Vec<Measurement>, ReportError> {
    let lengths = (network_rtt.len(), prober_delay.len(), responder_delay.len());
    if lengths.0 != lengths.1 || lengths.0 != lengths.2 {
        return Err(ReportError::Columns(lengths.0, lengths.1, lengths.2));
    }
    network_rtt
        .iter()
        .zip(prober_delay)
        .zip(responder_delay)
        .map(|((network_rtt, prober_delay), responder_delay)| {
            let smallest = *network_rtt.min(prober_delay).min(responder_delay);
            if smallest < 0 {
                return Err(ReportError::NegativeSpan(smallest));
            }
            Ok(Measurement {
                network_rtt: Nanos(*network_rtt),
                prober_delay: Nanos(*prober_delay),
                responder_delay: Nanos(*responder_delay),
            })
        })
        .collect()
}

fn name(text: String, what: &'static str) -> Result<String, ReportError> {
    if text.len() > MAX_NAME {
        return Err(ReportError::Name {
            what,
            length: text.len(),
        });
    }
    Ok(text)
}

fn end(peer: Option<v1::Peer>, what: &'static str) -> Result<End, ReportError> {
    let peer = peer.ok_or(ReportError::Missing(what))?;
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

impl From<End> for v1::Peer {
    fn from(end: End) -> Self {
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

numbers!("probe kind" Kind ProbeKind kind_from kind_to {
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
