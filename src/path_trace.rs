//! Path tracing: one trait "which switches does this 5-tuple pass", and who carries it out.
//!
//! - [`raw`]: real packets with the probes' 5-tuple, through raw sockets (CAP_NET_RAW);
//! - [`fabric::realtime`](crate::fabric::realtime): the emulated fabric.
//!
//! [`trace`] makes one trace of several rounds; what they say together is decided by
//! [`Assembly`].

pub mod raw;

use std::net::IpAddr;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::probe::trace::schedule::Order;
use crate::probe::trace::{Assembly, Observation, Trace, Tuple};
use crate::time::Clock;

/// How one round is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Round {
    /// Hop limits from 1 to this one are sent.
    pub max_hops: u8,
    /// How long answers are waited for.
    pub timeout: Duration,
    /// DSCP and ECN bits: those of the probes, since switches may choose paths by them.
    pub traffic_class: u8,
}

/// Why a path cannot be traced.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// Raw sockets need a privilege that this process does not have.
    #[error(
        "raw sockets are not permitted: run as root, or give the program CAP_NET_RAW (`AmbientCapabilities=CAP_NET_RAW` \
         in the systemd unit, or `setcap cap_net_raw+ep`)"
    )]
    NotPermitted,
    /// Raw sockets cannot be had for another reason.
    #[error("raw sockets cannot be opened")]
    Socket(#[source] std::io::Error),
    /// The two ends are not of one address family.
    #[error("{source_address} and {target} are not of one address family")]
    Family {
        /// From where.
        source_address: IpAddr,
        /// Where to.
        target: IpAddr,
    },
    /// A link-local address has no switch that forwards its packets.
    #[error("{0} is link-local: its packets pass no router that could answer")]
    LinkLocal(IpAddr),
    /// The round could not be made.
    #[error("tracing {tuple} failed: {why}")]
    Failed {
        /// Of what.
        tuple: Tuple,
        /// In words.
        why: String,
    },
}

impl TraceError {
    /// Whether no path can be traced from here, rather than this one.
    pub(crate) const fn is_general(&self) -> bool {
        matches!(self, Self::NotPermitted | Self::Socket(_))
    }
}

/// Finds out which switches a 5-tuple passes.
pub trait PathTracer: Send + Sync {
    /// For logs.
    fn name(&self) -> &'static str;

    /// Sends one packet with each hop limit and waits for the answers. Dropping the future gives them up.
    ///
    /// # Errors
    /// [`TraceError`]; that nobody answers is none.
    fn round(&self, tuple: Tuple, round: Round) -> BoxFuture<'_, Result<Observation, TraceError>>;
}

/// The most rounds of one trace: two to see that silence is no accident, a third where one of them left a gap.
pub(crate) const MAX_ROUNDS: u32 = 3;

/// Makes a trace: rounds until another would tell no more.
///
/// # Errors
/// Those of the first round; what fails later leaves what is known by then.
pub async fn trace(
    tracer: &dyn PathTracer,
    order: &Order,
    round: Round,
    clock: &dyn Clock,
) -> Result<Trace, TraceError> {
    let mut assembly = Assembly::default();
    while assembly.rounds() < MAX_ROUNDS && assembly.wants_more(order.before()) {
        match tracer.round(order.tuple, round).await {
            Ok(observation) => assembly.add(observation),
            Err(error) if assembly.rounds() == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(assembly.conclude(order.tuple, clock.wall(), order.reason, order.before()))
}

#[cfg(test)]
mod tests;
