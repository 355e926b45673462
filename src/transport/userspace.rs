//! RoCE v2 from user space: unreliable datagrams over plain UDP sockets, on Linux and macOS, without privileges.
//!
//! An endpoint is a virtual queue pair. All endpoints of one local address share the socket on UDP port 4791 that
//! receives; each sends from sockets of its own, one for each UDP source port, so that a flow label chooses the ECMP
//! path as it does on RNICs. The peers may be soft-RoCE or RNICs: the packets and their ICRC are theirs
//! ([`packet`], [`icrc`]).
//!
//! Time stamps are the kernel's where it stamps both directions (Linux: `SO_TIMESTAMPING`), else those of the process
//! for what is sent and, where there are some, the kernel's for what is received (`SO_TIMESTAMP`: macOS). All of them are of the wall clock,
//! because that is what kernels stamp with; a step of that clock spoils the measurements that it falls into.
//!
//! On Linux a bound port 4791 keeps soft-RoCE from starting, so this transport is never chosen unasked there.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::id::{Gid, QKey, Qpn, ROCE_V2_UDP_PORT};

use super::queue::{DEFAULT_RECEIVE_DEPTH, Outlet};
use super::{
    Address, Capabilities, CompletionClock, Endpoint, Provider, RnicName, RnicPort,
    SourcePortSteering, TransportError,
};

mod endpoint;
pub mod icrc;
mod interfaces;
pub mod packet;
mod port;
mod self_test;
mod sender;
mod socket;

pub use interfaces::LocalPort;
pub use port::Rejected;
pub use self_test::SelfTestError;

use endpoint::UserspaceEndpoint;
use port::Port;

/// How often a free QPN is drawn before giving up; two draws meeting is already unlikely.
const QPN_DRAWS: u32 = 64;
/// QPNs below are the management queue pairs' or look like them in captures.
const FIRST_QPN: u32 = 0x100;

/// What the transport needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Local addresses to use as RNIC ports; empty: the best address of every interface that is up, no loopback and
    /// no link-local ones.
    pub addresses: Vec<IpAddr>,
    /// The UDP port at which this host and all its peers receive. Anything but 4791 reaches only peers that were told
    /// the same; 0 lets the system choose, for endpoints of one provider among themselves.
    pub udp_port: u16,
    /// The Q_Key of the endpoints.
    pub q_key: QKey,
}

impl Default for Config {
    /// All interfaces, port 4791, Q_Key 0x11111111.
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            udp_port: ROCE_V2_UDP_PORT,
            q_key: QKey(0x1111_1111),
        }
    }
}

/// Opens user-space endpoints on the host's network interfaces.
pub struct UserspaceProvider {
    config: Config,
    /// Addresses in use, with their scope. Locked for the time of a look-up, or of opening a socket.
    ports: Mutex<HashMap<SocketAddr, Weak<Port>>>,
}

impl fmt::Debug for UserspaceProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserspaceProvider")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl UserspaceProvider {
    /// A provider for these addresses. Nothing is opened yet.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            ports: Mutex::default(),
        }
    }

    /// The local addresses that stand for RNIC ports.
    ///
    /// # Errors
    /// [`TransportError::NoDevice`] when an address is not on this host or none can be used.
    pub(crate) fn local_ports(&self) -> Result<Vec<LocalPort>, TransportError> {
        interfaces::local_ports(&self.config.addresses)
    }

    /// Datagrams that came to `address` and were not delivered, by reason. `None` when no endpoint is open there.
    pub fn rejected(&self, address: IpAddr) -> Option<Rejected> {
        Some(self.open_port(address)?.rejected())
    }

    /// The UDP address at which the endpoints on `address` receive. `None` when no endpoint is open there.
    #[cfg(test)]
    pub(crate) fn receives_at(&self, address: IpAddr) -> Option<SocketAddr> {
        Some(self.open_port(address)?.local())
    }

    fn open_port(&self, address: IpAddr) -> Option<Arc<Port>> {
        let ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        ports
            .iter()
            .find(|(local, _)| local.ip() == address)?
            .1
            .upgrade()
    }

    fn port(&self, rnic: &RnicName, local: &LocalPort) -> Result<Arc<Port>, TransportError> {
        let mut ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(port) = ports.get(&local.address).and_then(Weak::upgrade) {
            return Ok(port);
        }
        let (bound, socket) = self.listen(rnic, local.address)?;
        self_test::run(bound, &socket).map_err(|error| TransportError::Rnic {
            rnic: rnic.clone(),
            why: error.to_string(),
        })?;
        let port = Port::start(bound, socket).map_err(|source| TransportError::System {
            rnic: rnic.clone(),
            call: format!("watching the UDP socket on {bound}"),
            source,
        })?;
        let port = Arc::new(port);
        ports.insert(local.address, Arc::downgrade(&port));
        Ok(port)
    }

    fn listen(
        &self,
        rnic: &RnicName,
        mut local: SocketAddr,
    ) -> Result<(SocketAddr, UdpSocket), TransportError> {
        local.set_port(self.config.udp_port);
        let opened = socket::receiver(local).and_then(|socket| {
            local.set_port(socket.local_addr()?.port());
            Ok((local, socket))
        });
        opened.map_err(|error| bind_error(rnic, local, error))
    }
}

fn bind_error(rnic: &RnicName, local: SocketAddr, error: io::Error) -> TransportError {
    let why = match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "UDP {local} is in use: if rdma_rxe (soft-RoCE) holds it use --transport verbs or unload it, else another \
             agent or RoCE program runs here"
        ),
        io::ErrorKind::AddrNotAvailable => {
            format!("{} is not an address of this host", local.ip())
        }
        io::ErrorKind::PermissionDenied => format!(
            "no permission to receive on UDP {local}: a security policy (seccomp, SELinux, a sandbox) forbids it"
        ),
        _ => {
            return TransportError::System {
                rnic: rnic.clone(),
                call: format!("opening UDP {local}"),
                source: error,
            };
        }
    };
    TransportError::Rnic {
        rnic: rnic.clone(),
        why,
    }
}

impl Provider for UserspaceProvider {
    fn name(&self) -> &'static str {
        "userspace"
    }

    fn discover(&self) -> Result<Vec<RnicPort>, TransportError> {
        let ports = self.local_ports()?;
        Ok(ports.into_iter().map(RnicPort::from).collect())
    }

    fn open(&self, rnic: &RnicName) -> Result<Box<dyn Endpoint>, TransportError> {
        let fail = |why: String| TransportError::Rnic {
            rnic: rnic.clone(),
            why,
        };
        let local = self
            .local_ports()?
            .into_iter()
            .find(|port| port.name == *rnic)
            .ok_or_else(|| {
                fail("no such interface address is in use by this transport".to_owned())
            })?;
        interfaces::check_mtu(&local).map_err(fail)?;
        let stamped =
            self_test::stamps_sends(local.address).map_err(|source| TransportError::System {
                rnic: rnic.clone(),
                call: format!("opening a sending socket on {}", local.address.ip()),
                source,
            })?;
        let port = self.port(rnic, &local)?;
        let outlet = (0..QPN_DRAWS)
            .map(|_| {
                let address = Address {
                    gid: Gid::from(local.address.ip()),
                    qpn: Qpn::from_lower_bits(rand::random_range(FIRST_QPN..1 << 24)),
                    q_key: self.config.q_key,
                };
                Outlet::new(address, DEFAULT_RECEIVE_DEPTH)
            })
            .find(|outlet| port.add(outlet.address(), outlet.inlet().clone()))
            .ok_or_else(|| fail("no free QPN was found".to_owned()))?;
        let capabilities = Capabilities {
            clock: if stamped {
                CompletionClock::Kernel
            } else {
                CompletionClock::Software
            },
            steering: SourcePortSteering::FlowLabel,
            sees_source_port: true,
        };
        Ok(Box::new(UserspaceEndpoint::new(port, capabilities, outlet)))
    }
}

#[cfg(test)]
mod tests;
