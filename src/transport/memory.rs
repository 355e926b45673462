//! A loopback network inside one process: every datagram is delivered at once.
//!
//! For tests, benchmarks and simulations that need a network without faults. Faults come from
//! [`fault`](super::fault), topology from the emulated fabric.
//!
//! A [`Network`] knows its endpoints by GID and QPN. [`Endpoint::post`] puts a datagram straight into the receiver's
//! bounded queue, whose waker fires; what does not fit is counted and reported as
//! [`EndpointEvent::ReceiveOverflow`]. A datagram to nobody, or with another Q_Key than the receiver's, vanishes as it
//! would on a real fabric. The table of endpoints is the only shared state; each endpoint keeps the senders it has
//! looked up, so the table is read once per peer.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};

use crate::id::{Gid, QKey, Qpn};
use crate::time::{Clock, NicTime, SystemClock};

pub(crate) use super::queue::DEFAULT_RECEIVE_DEPTH;
use super::queue::{Inlet, Outlet, SEND_DEPTH};
use super::{
    Address, Capabilities, Completion, CompletionClock, Endpoint, EndpointEvent, Provider,
    Received, RnicName, RnicPort, SendRequest, SendStatus, SourcePortSteering, TransportError,
};

/// The QPN of the first endpoint; 0 and 1 are the management QPs of the InfiniBand specification.
const FIRST_QPN: u32 = 0x11;

/// The Q_Key of every endpoint that is not opened with an address of its own.
const Q_KEY: QKey = QKey(0x1111_1111);

/// What peers need to deliver to an endpoint.
#[derive(Clone)]
struct Port {
    q_key: QKey,
    inlet: Inlet,
}

type Key = (Gid, Qpn);

struct Shared {
    ports: RwLock<HashMap<Key, Port>>,
    clock: Arc<dyn Clock>,
    stamped_by: CompletionClock,
    next_qpn: AtomicU64,
    undelivered: AtomicU64,
}

impl Shared {
    fn now(&self) -> NicTime {
        NicTime::from_nanos(self.clock.host().nanos())
    }

    fn port(&self, key: Key) -> Option<Port> {
        self.ports
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
            .cloned()
    }
}

/// The address is taken by a living endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} already has an endpoint on this network: close it first or choose another QPN")]
pub struct AddressInUse(pub Address);

/// A network without loss and delay; clones are the same network.
#[derive(Clone)]
pub struct Network {
    shared: Arc<Shared>,
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network")
            .field("undelivered", &self.undelivered())
            .finish_non_exhaustive()
    }
}

impl Default for Network {
    fn default() -> Self {
        Self::new()
    }
}

impl Network {
    /// A network that stamps completions with the system's monotonic clock.
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock), CompletionClock::Software)
    }

    /// A network that stamps completions with `clock`, which its endpoints call `stamped_by`
    /// ([`CompletionClock::Emulated`] for virtual time).
    pub fn with_clock(clock: Arc<dyn Clock>, stamped_by: CompletionClock) -> Self {
        Self {
            shared: Arc::new(Shared {
                ports: RwLock::default(),
                clock,
                stamped_by,
                next_qpn: AtomicU64::new(u64::from(FIRST_QPN)),
                undelivered: AtomicU64::new(0),
            }),
        }
    }

    /// A new endpoint with a QPN that no other endpoint of this network had.
    pub fn endpoint(&self, gid: Gid) -> MemoryEndpoint {
        loop {
            let number = self.shared.next_qpn.fetch_add(1, Ordering::Relaxed);
            #[expect(clippy::cast_possible_truncation, reason = "24 bits are kept anyway")]
            let qpn = Qpn::from_lower_bits(number as u32);
            let address = Address {
                gid,
                qpn,
                q_key: Q_KEY,
            };
            if let Ok(endpoint) = self.endpoint_at(address, DEFAULT_RECEIVE_DEPTH) {
                return endpoint;
            }
        }
    }

    /// A new endpoint at `address` whose queue holds `receive_depth` datagrams (at least one).
    ///
    /// # Errors
    /// [`AddressInUse`] while another endpoint has this GID and QPN.
    pub(crate) fn endpoint_at(
        &self,
        address: Address,
        receive_depth: usize,
    ) -> Result<MemoryEndpoint, AddressInUse> {
        let outlet = Outlet::new(address, receive_depth);
        let port = Port {
            q_key: address.q_key,
            inlet: outlet.inlet().clone(),
        };
        let mut ports = self
            .shared
            .ports
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        match ports.entry((address.gid, address.qpn)) {
            Entry::Occupied(_) => return Err(AddressInUse(address)),
            Entry::Vacant(entry) => entry.insert(port),
        };
        drop(ports);
        Ok(MemoryEndpoint {
            capabilities: Capabilities {
                clock: self.shared.stamped_by,
                steering: SourcePortSteering::FlowLabel,
                sees_source_port: true,
            },
            network: self.shared.clone(),
            outlet,
            peers: HashMap::new(),
        })
    }

    /// Tells the endpoint at `address` of a change, as a device would. False when there is no such endpoint or its
    /// queue is full.
    pub fn raise(&self, address: Address, event: EndpointEvent) -> bool {
        self.shared
            .port((address.gid, address.qpn))
            .is_some_and(|port| port.inlet.raise(event))
    }

    /// Kills the endpoint at `address` as a fatal device event would: its next call fails with
    /// [`TransportError::EndpointLost`]. The address is free at once. False when there is no such endpoint.
    pub fn kill(&self, address: Address, why: impl Into<String>) -> bool {
        let removed = self
            .shared
            .ports
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&(address.gid, address.qpn));
        removed.is_some_and(|port| {
            port.inlet.lose(why.into());
            true
        })
    }

    /// Datagrams that vanished because nobody had their destination or the receiver had another Q_Key.
    pub(crate) fn undelivered(&self) -> u64 {
        self.shared.undelivered.load(Ordering::Relaxed)
    }
}

/// An endpoint of a [`Network`]. Dropping it frees its address.
pub struct MemoryEndpoint {
    capabilities: Capabilities,
    network: Arc<Shared>,
    outlet: Outlet,
    /// Peers already looked up.
    peers: HashMap<Key, Port>,
}

impl fmt::Debug for MemoryEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryEndpoint")
            .field("address", &self.outlet.address())
            .finish_non_exhaustive()
    }
}

impl MemoryEndpoint {
    /// The peer's port, from the endpoint's own table while that peer lives.
    fn peer(&mut self, key: Key) -> Option<&Port> {
        if !self
            .peers
            .get(&key)
            .is_some_and(|port| port.inlet.is_open())
        {
            match self.network.port(key) {
                Some(port) => self.peers.insert(key, port),
                None => self.peers.remove(&key),
            };
        }
        self.peers.get(&key)
    }

    fn deliver(&mut self, request: &SendRequest, at: NicTime) {
        let own = self.outlet.address();
        let received = Received {
            at,
            source_gid: own.gid,
            source_qpn: own.qpn,
            source_port: Some(request.flow_label.source_port()),
            payload: request.payload,
        };
        match self.peer((request.to.gid, request.to.qpn)) {
            Some(port) if port.q_key == request.to.q_key => port.inlet.deliver(received),
            _ => {
                self.network.undelivered.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Endpoint for MemoryEndpoint {
    fn address(&self) -> Address {
        self.outlet.address()
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn post(&mut self, batch: &[SendRequest]) -> Result<usize, TransportError> {
        self.outlet.alive()?;
        let room = SEND_DEPTH.saturating_sub(self.outlet.waiting());
        let taken = batch.len().min(room);
        for request in &batch[..taken] {
            let at = self.network.now();
            self.deliver(request, at);
            self.outlet.push(Completion::Sent {
                token: request.token,
                at,
                status: SendStatus::Sent,
            });
        }
        if taken > 0 {
            self.outlet.wake();
        }
        Ok(taken)
    }

    fn poll_completions(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Vec<Completion>,
    ) -> Poll<Result<(), TransportError>> {
        self.outlet.poll(cx, out)
    }
}

impl Drop for MemoryEndpoint {
    fn drop(&mut self) {
        let mut ports = self
            .network
            .ports
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let own = self.outlet.address();
        let key = (own.gid, own.qpn);
        // After a kill the address may belong to another endpoint.
        if ports
            .get(&key)
            .is_some_and(|port| port.inlet.is_same(self.outlet.inlet()))
        {
            ports.remove(&key);
        }
    }
}

/// RNIC ports on a [`Network`], for programs that open endpoints by name.
#[derive(Debug, Clone)]
pub struct MemoryProvider {
    network: Network,
    ports: Vec<(RnicName, Gid)>,
}

impl MemoryProvider {
    /// A provider whose RNIC ports are `ports`.
    pub fn new(network: Network, ports: impl IntoIterator<Item = (RnicName, Gid)>) -> Self {
        Self {
            network,
            ports: ports.into_iter().collect(),
        }
    }
}

impl Provider for MemoryProvider {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn discover(&self) -> Result<Vec<RnicPort>, TransportError> {
        if self.ports.is_empty() {
            return Err(TransportError::NoDevice(
                "the in-memory network has no ports".to_owned(),
            ));
        }
        Ok(self
            .ports
            .iter()
            .map(|(name, gid)| RnicPort {
                name: name.clone(),
                gid: *gid,
                gid_index: 0,
                interface: None,
            })
            .collect())
    }

    fn open(&self, rnic: &RnicName) -> Result<Box<dyn Endpoint>, TransportError> {
        let (_, gid) = self
            .ports
            .iter()
            .find(|(name, _)| name == rnic)
            .ok_or_else(|| TransportError::Rnic {
                rnic: rnic.clone(),
                why: "the in-memory network has no such port".to_owned(),
            })?;
        Ok(Box::new(self.network.endpoint(*gid)))
    }
}

#[cfg(test)]
mod tests;
