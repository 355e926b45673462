//! Traces real networks with the trippy-core library: UDP packets with the probes' own 5-tuple and growing hop limits.
//!
//! Both ports are fixed, so the packets of a round are told apart by something else that the answers quote: the
//! identification field over IPv4, the UDP checksum over IPv6; no switch hashes either. A packet whose hop limit suffices
//! arrives at the target on port 4791. It is no RoCE v2 packet (its ICRC is wrong), so it is dropped there, by RNICs too,
//! which count it (`rx_icrc_encapsulated` on mlx5). Nothing is dropped for it anywhere else.
//!
//! The source address is the RNIC's; which interface a packet leaves by is the routing table's choice, as it is for RoCE
//! v2 where rules by source address exist.
//!
//! Each round runs on a thread of its own for at most its timeout (the library blocks).

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use socket2::{Domain, Protocol, Socket, Type};
use trippy_core::{
    Builder, IcmpPacketType, MultipathStrategy, Port, PortDirection, ProbeStatus,
    Protocol as Probed,
};

use super::{PathTracer, Round, TraceError};
use crate::id::{Gid, NodeName, ROCE_V2_UDP_PORT};
use crate::probe::trace::{Answer, MAX_HOPS, Observation, Tuple};
use crate::time::Nanos;

/// The size of the packets with their IP header, in bytes: that of probes over IPv4, about.
const PACKET_SIZE: u16 = 84;

/// How long the library waits for an answer before it looks after its timers.
const READ_TIMEOUT: Duration = Duration::from_millis(5);

/// Traces through raw sockets.
#[derive(Debug)]
pub struct RawTracer(());

impl RawTracer {
    /// Finds out whether raw sockets can be had.
    ///
    /// # Errors
    /// [`TraceError::NotPermitted`], [`TraceError::Socket`].
    pub fn new() -> Result<Self, TraceError> {
        // For sending and for receiving; the one for IPv6 may be missing with IPv6 itself.
        for protocol in [Protocol::from(libc::IPPROTO_RAW), Protocol::ICMPV4] {
            Socket::new(Domain::IPV4, Type::RAW, Some(protocol)).map_err(|error| {
                match error.kind() {
                    io::ErrorKind::PermissionDenied => TraceError::NotPermitted,
                    _ => TraceError::Socket(error),
                }
            })?;
        }
        Ok(Self(()))
    }
}

impl PathTracer for RawTracer {
    fn name(&self) -> &'static str {
        "raw sockets"
    }

    fn round(&self, tuple: Tuple, round: Round) -> BoxFuture<'_, Result<Observation, TraceError>> {
        async move {
            check(tuple)?;
            tokio::task::spawn_blocking(move || run(tuple, round))
                .await
                .unwrap_or_else(|error| Err(failed(tuple, &error)))
        }
        .boxed()
    }
}

fn failed(tuple: Tuple, why: &dyn std::fmt::Display) -> TraceError {
    TraceError::Failed {
        tuple,
        why: why.to_string(),
    }
}

fn check(tuple: Tuple) -> Result<(), TraceError> {
    for gid in [tuple.source, tuple.target] {
        if gid.is_link_local() {
            return Err(TraceError::LinkLocal(gid.ip()));
        }
    }
    if tuple.source.is_ipv4() != tuple.target.is_ipv4() {
        return Err(TraceError::Family {
            source_address: tuple.source.ip(),
            target: tuple.target.ip(),
        });
    }
    Ok(())
}

fn strategy(target: IpAddr) -> MultipathStrategy {
    match target {
        IpAddr::V4(_) => MultipathStrategy::Dublin,
        // Dublin would give each packet another length.
        IpAddr::V6(_) => MultipathStrategy::Paris,
    }
}

fn run(tuple: Tuple, round: Round) -> Result<Observation, TraceError> {
    let hops = round.max_hops.clamp(1, MAX_HOPS);
    let target = tuple.target.ip();
    let tracer = Builder::new(target)
        .source_addr(Some(tuple.source.ip()))
        .protocol(Probed::Udp)
        .multipath_strategy(strategy(target))
        .port_direction(PortDirection::FixedBoth(
            Port(tuple.port.0),
            Port(ROCE_V2_UDP_PORT),
        ))
        .packet_size(PACKET_SIZE)
        .tos(round.traffic_class)
        .max_rounds(Some(1))
        .max_ttl(hops)
        // All at once: a round lasts as long as its slowest answer, and silent switches hold up nothing.
        .max_inflight(hops)
        .read_timeout(READ_TIMEOUT)
        .grace_duration(READ_TIMEOUT)
        .min_round_duration(Duration::ZERO)
        .max_round_duration(round.timeout)
        .build()
        .map_err(|error| failed(tuple, &error))?;
    let observation = std::cell::RefCell::new(Observation::empty(hops));
    tracer
        .run_with(|round| {
            for probe in round.probes {
                take(&mut observation.borrow_mut(), tuple.target, probe);
            }
        })
        .map_err(|error| failed(tuple, &error))?;
    Ok(observation.into_inner())
}

fn take(observation: &mut Observation, target: Gid, probe: &ProbeStatus) {
    let ProbeStatus::Complete(answer) = probe else {
        return;
    };
    let from_target = Gid::from(answer.host) == target;
    match answer.icmp_packet_type {
        IcmpPacketType::Unreachable(_) if from_target => observation.reached(answer.ttl.0),
        // A switch that has no route says so; it is on the path all the same.
        IcmpPacketType::TimeExceeded(_) | IcmpPacketType::Unreachable(_) => {
            let rtt = answer.received.duration_since(answer.sent);
            observation.answer(
                answer.ttl.0,
                Answer {
                    node: NodeName::new(Gid::from(answer.host).to_string()),
                    rtt: Nanos::from(rtt.unwrap_or_default()),
                },
            );
        }
        IcmpPacketType::EchoReply(_) | IcmpPacketType::NotApplicable => {}
    }
}

#[cfg(test)]
mod tests;
