//! Conversions of traces. One that contradicts itself is refused by itself, like a report.

use super::v1;
use crate::id::{Gid, IdError, MAX_NAME, NodeName, UdpSourcePort, check_name};
use crate::probe::trace::{Answer, End, MAX_HOPS, Reason, Trace, Tuple};
use crate::time::{Nanos, WallTime};

/// Why a trace was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// A GID has not its form.
    #[error(transparent)]
    Id(#[from] IdError),
    /// The source port is none.
    #[error("source port {0} is not between 1 and 65535")]
    SourcePort(u32),
    /// More hops than any path has.
    #[error("{0} hops, more than {MAX_HOPS}")]
    Hops(usize),
    /// A switch's name is too long or not printable.
    #[error("hop {hop}: its name must have at most {MAX_NAME} bytes, all printable")]
    Node {
        /// Which, from 1.
        hop: usize,
    },
    /// A time that cannot be.
    #[error("hop {hop}: {rtt} ns until the answer")]
    Rtt {
        /// Which, from 1.
        hop: usize,
        /// As reported.
        rtt: i64,
    },
    /// The hops end with ones that did not answer, and nothing answered behind them.
    #[error("the last hop did not answer, and neither did the target")]
    Trailing,
    /// A number that stands for something this version does not know.
    #[error("{what} {number} is unknown")]
    Unknown {
        /// What the number stands for.
        what: &'static str,
        /// The number.
        number: i32,
    },
}

impl TryFrom<v1::PathTrace> for Trace {
    type Error = TraceError;

    fn try_from(message: v1::PathTrace) -> Result<Self, TraceError> {
        let port = u16::try_from(message.source_port)
            .ok()
            .filter(|port| *port > 0)
            .ok_or(TraceError::SourcePort(message.source_port))?;
        let tuple = Tuple {
            source: gid(&message.source_gid)?,
            target: gid(&message.target_gid)?,
            port: UdpSourcePort(port),
        };
        if message.hops.len() > usize::from(MAX_HOPS) {
            return Err(TraceError::Hops(message.hops.len()));
        }
        let end = end_from(message.end)?;
        let hops = message
            .hops
            .into_iter()
            .enumerate()
            .map(|(index, hop)| answer(index + 1, hop))
            .collect::<Result<Vec<_>, _>>()?;
        if end != End::Answered && hops.last().is_some_and(Option::is_none) {
            return Err(TraceError::Trailing);
        }
        Ok(Self {
            tuple,
            at: WallTime::from_nanos(message.at_unix_ns),
            reason: reason_from(message.reason)?,
            end,
            hops,
        })
    }
}

fn gid(bytes: &[u8]) -> Result<Gid, TraceError> {
    let gid = Gid::try_from(bytes)?;
    if gid.is_zero() {
        return Err(IdError::Gid(gid.to_string()).into());
    }
    Ok(gid)
}

fn answer(hop: usize, message: v1::TraceHop) -> Result<Option<Answer>, TraceError> {
    if message.node.is_empty() {
        return Ok(None);
    }
    if check_name(&message.node).is_err() {
        return Err(TraceError::Node { hop });
    }
    if message.rtt_ns < 0 {
        return Err(TraceError::Rtt {
            hop,
            rtt: message.rtt_ns,
        });
    }
    Ok(Some(Answer {
        node: NodeName::new(message.node),
        rtt: Nanos(message.rtt_ns),
    }))
}

impl From<Trace> for v1::PathTrace {
    fn from(trace: Trace) -> Self {
        Self {
            source_gid: trace.tuple.source.bytes().to_vec().into(),
            target_gid: trace.tuple.target.bytes().to_vec().into(),
            source_port: trace.tuple.port.0.into(),
            at_unix_ns: trace.at.nanos(),
            reason: reason_to(trace.reason).into(),
            end: end_to(trace.end).into(),
            hops: trace
                .hops
                .into_iter()
                .map(|hop| {
                    hop.map_or_else(v1::TraceHop::default, |answer| v1::TraceHop {
                        node: answer.node.as_str().to_owned(),
                        rtt_ns: answer.rtt.0.max(0),
                    })
                })
                .collect(),
        }
    }
}

/// Both directions between an enum of the domain and one of the messages.
macro_rules! numbers {
    ($what:literal $domain:ident $message:ident $from:ident $to:ident { $($variant:ident),* $(,)? }) => {
        fn $from(number: i32) -> Result<$domain, TraceError> {
            match v1::$message::try_from(number) {
                $(Ok(v1::$message::$variant) => Ok($domain::$variant),)*
                Ok(v1::$message::Unspecified) | Err(_) => Err(TraceError::Unknown { what: $what, number }),
            }
        }

        const fn $to(value: $domain) -> v1::$message {
            match value {
                $($domain::$variant => v1::$message::$variant,)*
            }
        }
    };
}

numbers!("trace reason" Reason TraceReason reason_from reason_to {
    New,
    Scheduled,
    Failing,
    Recovered,
});

numbers!("trace end" End TraceEnd end_from end_to {
    Answered,
    Inferred,
    Silent,
});

#[cfg(test)]
mod tests;
