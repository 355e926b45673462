//! One local address with its listening socket and the endpoints behind it.
//!
//! One task owns the socket: it takes datagrams, checks them, and puts each into the queue of the endpoint whose QPN
//! and Q_Key it names. It sends nothing and holds no state that outlives a datagram but its solvers, so it may be
//! cancelled at any point; it is, when the last endpoint of the address is dropped.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::io::Interest;
use tokio::task::AbortHandle;

use crate::id::{Gid, QKey, Qpn, UdpSourcePort};
use crate::transport::queue::Inlet;
use crate::transport::{Address, Received};

use super::icrc::{Addresses, Headers, Solver};
use super::packet::{Datagram, MAX_DATAGRAM, PacketError, Repr};
use super::socket::{Arrival, ControlBuffer, now, receive};

/// Errors in a row after which the socket counts as dead.
const MAX_ERRORS: u32 = 16;

/// One virtual queue pair.
struct QueuePair {
    q_key: QKey,
    inlet: Inlet,
}

/// Datagrams that were not delivered, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rejected {
    /// No well-formed UD datagram: lengths, version, opcode, or more payload than a probe has.
    pub malformed: u64,
    /// Of another partition.
    pub p_key: u64,
    /// Damaged on the way.
    pub icrc: u64,
    /// For a QPN that nobody has here.
    pub qpn: u64,
    /// With another Q_Key than the endpoint's.
    pub q_key: u64,
}

#[derive(Default)]
struct Counters {
    malformed: AtomicU64,
    p_key: AtomicU64,
    icrc: AtomicU64,
    qpn: AtomicU64,
    q_key: AtomicU64,
}

impl Counters {
    fn count(&self, error: PacketError) {
        let counter = match error {
            PacketError::TooShort(_)
            | PacketError::Unaligned(_)
            | PacketError::Oversized(_)
            | PacketError::Version(_)
            | PacketError::Opcode(_) => &self.malformed,
            PacketError::PKey(_) => &self.p_key,
            PacketError::Icrc { .. } => &self.icrc,
            PacketError::UnknownQpn(_) => &self.qpn,
            PacketError::QKey { .. } => &self.q_key,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Default)]
struct Shared {
    queue_pairs: RwLock<HashMap<Qpn, QueuePair>>,
    counters: Counters,
}

impl Shared {
    fn each(&self, action: impl Fn(&Inlet)) {
        let queue_pairs = self
            .queue_pairs
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        queue_pairs.values().for_each(|pair| action(&pair.inlet));
    }
}

/// A local address at which endpoints receive.
pub(super) struct Port {
    local: SocketAddr,
    shared: Arc<Shared>,
    task: AbortHandle,
}

impl Port {
    /// Starts to receive with `socket`, which is bound to `local`.
    pub(super) fn start(local: SocketAddr, socket: UdpSocket) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let demultiplexer = Demultiplexer {
            local,
            shared: shared.clone(),
            solvers: HashMap::new(),
            dropped: 0,
        };
        let socket = tokio::net::UdpSocket::from_std(socket)?;
        let task = tokio::spawn(demultiplexer.run(socket)).abort_handle();
        Ok(Self {
            local,
            shared,
            task,
        })
    }

    /// The address and port that peers send to.
    pub(super) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Delivers datagrams for `address` to `inlet`; false when the QPN is taken.
    pub(super) fn add(&self, address: Address, inlet: Inlet) -> bool {
        let mut queue_pairs = self
            .shared
            .queue_pairs
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if queue_pairs.contains_key(&address.qpn) {
            return false;
        }
        let q_key = address.q_key;
        queue_pairs.insert(address.qpn, QueuePair { q_key, inlet });
        true
    }

    pub(super) fn remove(&self, qpn: Qpn) {
        self.shared
            .queue_pairs
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&qpn);
    }

    pub(super) fn rejected(&self) -> Rejected {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.shared.counters;
        Rejected {
            malformed: read(&counters.malformed),
            p_key: read(&counters.p_key),
            icrc: read(&counters.icrc),
            qpn: read(&counters.qpn),
            q_key: read(&counters.q_key),
        }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Demultiplexer {
    local: SocketAddr,
    shared: Arc<Shared>,
    /// By length of what the ICRC covers: at most one for each padded length of a probe.
    solvers: HashMap<usize, Solver>,
    /// What the kernel said last of its drops.
    dropped: u32,
}

impl Demultiplexer {
    async fn run(mut self, socket: tokio::net::UdpSocket) {
        let mut control = ControlBuffer::new();
        // One byte more than is taken, so that longer datagrams show.
        let mut buffer = [0; MAX_DATAGRAM + 1];
        let mut errors = 0;
        loop {
            if let Err(error) = socket.readable().await {
                return self.end(&error);
            }
            let received = socket.try_io(Interest::READABLE, || {
                receive(&socket, &mut buffer, &mut control)
            });
            match received {
                Ok(arrival) => {
                    errors = 0;
                    self.take(&arrival, &buffer[..arrival.len.min(buffer.len())]);
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                    ) => {}
                Err(error) => {
                    errors += 1;
                    tracing::debug!(local = %self.local, %error, "receiving failed");
                    if errors >= MAX_ERRORS {
                        return self.end(&error);
                    }
                }
            }
        }
    }

    fn end(&self, error: &io::Error) {
        let why = format!("receiving on UDP {} failed: {error}", self.local);
        self.shared.each(|inlet| inlet.lose(why.clone()));
    }

    fn take(&mut self, arrival: &Arrival, bytes: &[u8]) {
        if let Some(dropped) = arrival.dropped {
            let more = dropped.wrapping_sub(self.dropped);
            self.dropped = dropped;
            if more > 0 {
                self.shared.each(|inlet| inlet.overflowed(u64::from(more)));
            }
        }
        if let Err(error) = self.deliver(arrival, bytes) {
            self.shared.counters.count(error);
            tracing::debug!(local = %self.local, from = %arrival.from, %error, "datagram dropped");
        }
    }

    fn deliver(&mut self, arrival: &Arrival, bytes: &[u8]) -> Result<(), PacketError> {
        let datagram = Datagram::new_checked(bytes)?;
        let repr = Repr::parse(&datagram)?;
        self.check(arrival, &datagram)?;
        let queue_pairs = self
            .shared
            .queue_pairs
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let pair = queue_pairs
            .get(&repr.destination_qpn)
            .ok_or(PacketError::UnknownQpn(repr.destination_qpn))?;
        if pair.q_key != repr.q_key {
            return Err(PacketError::QKey {
                qpn: repr.destination_qpn,
                found: repr.q_key,
            });
        }
        pair.inlet.deliver(Received {
            at: arrival.stamp.unwrap_or_else(now),
            source_gid: Gid::from(arrival.from.ip().to_canonical()),
            source_qpn: repr.source_qpn,
            source_port: Some(UdpSourcePort(arrival.from.port())),
            payload: repr.payload,
        });
        Ok(())
    }

    /// Checks the ICRC against what the socket knows of the IP header, solving for what it does not know.
    fn check(&mut self, arrival: &Arrival, datagram: &Datagram<'_>) -> Result<(), PacketError> {
        let found = datagram.icrc();
        let covered = datagram.covered();
        let headers = Addresses::new(arrival.from.ip(), self.local.ip()).map(|addresses| Headers {
            addresses,
            source_port: arrival.from.port(),
            destination_port: self.local.port(),
        });
        let Some(headers) = headers else {
            return Err(PacketError::Icrc { found });
        };
        let fits = match headers.addresses {
            Addresses::V6 { .. } => {
                super::icrc::icrc(&headers, super::icrc::Identity::ATOMIC, covered) == Some(found)
            }
            Addresses::V4 { .. } => self
                .solvers
                .entry(covered.len())
                .or_insert_with(|| Solver::new(covered.len()))
                .solve(&headers, covered, found)
                .is_some(),
        };
        if fits {
            Ok(())
        } else {
            Err(PacketError::Icrc { found })
        }
    }
}
