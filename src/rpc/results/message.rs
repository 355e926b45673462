//! Between the domain's types and those of the messages.

use super::error::ReportError;
use crate::analysis::report::{AgentCounters, Batch, End, PathReport};
use crate::id::{DeviceName, Gid, HostName, IdError, Qpn, TorId, check_name};
use crate::measure::{Invalid, Measurement};
use crate::probe::{PathFidelity, ProbeKind};
use crate::rpc::v1;
use crate::time::Nanos;
use crate::transport::{Class, CompletionClock};

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
            focused: report.path.kind == ProbeKind::Focus,
            source_port: report.path.source_port.map_or(0, |port| u32::from(port.0)),
            service: report
                .path
                .service
                .map_or_else(String::new, |service| service.as_str().to_owned()),
            source: Some((&*report.path.source).into()),
            target: Some((&*report.path.target).into()),
            clock: clock_to(report.clock).into(),
            traffic_class: report.path.class.map(|class| class.traffic_class.into()),
            service_level: report.path.class.map(|class| class.service_level.into()),
            fidelity: fidelity_to(report.path.fidelity).into(),
        }
    }
}

pub(in crate::rpc) fn name<T: AsRef<str>>(text: T, what: &'static str) -> Result<T, ReportError> {
    match check_name(text.as_ref()) {
        Ok(()) => Ok(text),
        Err(error) => Err(ReportError::Name { what, error }),
    }
}

pub(super) fn end(peer: v1::Peer) -> Result<End, ReportError> {
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
        pub(in crate::rpc) fn $from(number: i32) -> Result<$domain, ReportError> {
            match v1::$message::try_from(number) {
                $(Ok(v1::$message::$number) => Ok($domain::$variant),)*
                Ok(v1::$message::Unspecified) | Err(_) => Err(ReportError::Unknown { what: $what, number }),
            }
        }

        pub(in crate::rpc) const fn $to(value: $domain) -> v1::$message {
            match value {
                $($domain::$variant => v1::$message::$number,)*
            }
        }
    };
}

/// What a report's kind and its `focused` say.
pub(in crate::rpc) fn kind_from(number: i32, focused: bool) -> Result<ProbeKind, ReportError> {
    let kind = match v1::ProbeKind::try_from(number) {
        Ok(v1::ProbeKind::TorMesh) => ProbeKind::TorMesh,
        Ok(v1::ProbeKind::InterTor) if focused => return Ok(ProbeKind::Focus),
        Ok(v1::ProbeKind::InterTor) => ProbeKind::InterTor,
        Ok(v1::ProbeKind::ServiceTracing) => ProbeKind::ServiceTracing,
        Ok(v1::ProbeKind::Unspecified) | Err(_) => {
            let what = "probe kind";
            return Err(ReportError::Unknown { what, number });
        }
    };
    if focused {
        return Err(ReportError::Focused);
    }
    Ok(kind)
}

/// A kind in messages: focus is a field of its own, which older analyzers skip.
pub(in crate::rpc) const fn kind_to(kind: ProbeKind) -> v1::ProbeKind {
    match kind {
        ProbeKind::TorMesh => v1::ProbeKind::TorMesh,
        ProbeKind::InterTor | ProbeKind::Focus => v1::ProbeKind::InterTor,
        ProbeKind::ServiceTracing => v1::ProbeKind::ServiceTracing,
    }
}

/// The class that a report tells, if it tells both of its parts.
pub(in crate::rpc) fn class_from(
    traffic_class: Option<u32>,
    service_level: Option<u32>,
) -> Result<Option<Class>, ReportError> {
    let (Some(traffic_class), Some(service_level)) = (traffic_class, service_level) else {
        return Ok(None);
    };
    let wrong = |_| ReportError::Class {
        traffic_class,
        service_level,
    };
    let class = Class {
        traffic_class: u8::try_from(traffic_class).map_err(wrong)?,
        service_level: u8::try_from(service_level).map_err(wrong)?,
    };
    if Class::LEVELS.contains(&class.service_level) {
        Ok(Some(class))
    } else {
        Err(ReportError::Class {
            traffic_class,
            service_level,
        })
    }
}

/// A degree of fidelity; one that only newer agents know is none.
pub(in crate::rpc) fn fidelity_from(number: i32) -> Option<PathFidelity> {
    match v1::PathFidelity::try_from(number) {
        Ok(v1::PathFidelity::OwnPath) => Some(PathFidelity::OwnPath),
        Ok(v1::PathFidelity::UnknownPort) => Some(PathFidelity::UnknownPort),
        Ok(v1::PathFidelity::OtherPath) => Some(PathFidelity::OtherPath),
        Ok(v1::PathFidelity::Unspecified) | Err(_) => None,
    }
}

pub(in crate::rpc) const fn fidelity_to(fidelity: Option<PathFidelity>) -> v1::PathFidelity {
    match fidelity {
        None => v1::PathFidelity::Unspecified,
        Some(PathFidelity::OwnPath) => v1::PathFidelity::OwnPath,
        Some(PathFidelity::UnknownPort) => v1::PathFidelity::UnknownPort,
        Some(PathFidelity::OtherPath) => v1::PathFidelity::OtherPath,
    }
}

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
