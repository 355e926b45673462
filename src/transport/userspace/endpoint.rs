//! A virtual UD queue pair behind a [`Port`].

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::id::{FlowLabel, UdpSourcePort};
use crate::transport::queue::{Outlet, SEND_DEPTH};
use crate::transport::{
    Address, Capabilities, Completion, Endpoint, EndpointEvent, SendRequest, SendStatus,
    TransportError,
};

use super::icrc::{Addresses, Headers};
use super::packet::Repr;
use super::port::Port;
use super::sender::Senders;
use super::socket::now;

/// An endpoint of the user-space transport.
pub(super) struct UserspaceEndpoint {
    port: Arc<Port>,
    capabilities: Capabilities,
    outlet: Outlet,
    senders: Senders,
    /// Packet sequence number of the next datagram; receivers ignore it, captures show it.
    psn: u32,
    /// Whether the owner was told that the address is gone.
    address_gone: bool,
}

impl UserspaceEndpoint {
    pub(super) fn new(port: Arc<Port>, capabilities: Capabilities, outlet: Outlet) -> Self {
        Self {
            senders: Senders::new(port.local()),
            port,
            capabilities,
            outlet,
            psn: 0,
            address_gone: false,
        }
    }

    fn send(&mut self, request: &SendRequest) -> io::Result<()> {
        let local = self.port.local();
        let to = peer(request.to.gid.ip(), local);
        let addresses = Addresses::new(local.ip(), to.ip()).ok_or_else(|| {
            io::Error::from_raw_os_error(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
        })?;
        let outlet = &mut self.outlet;
        let mut done = |completion| outlet.push(completion);
        let wanted = request.flow_label.source_port();
        let source_port = self.senders.prepare(wanted, &mut done)?;
        let headers = Headers {
            addresses,
            source_port: source_port.0,
            destination_port: local.port(),
        };
        let datagram = Repr {
            destination_qpn: request.to.qpn,
            source_qpn: outlet.address().qpn,
            q_key: request.to.q_key,
            psn: self.psn,
            payload: request.payload,
        };
        self.psn = self.psn.wrapping_add(1);
        let outlet = &mut self.outlet;
        self.senders.send(
            wanted,
            request.token,
            (to, request.class.traffic_class),
            datagram.emit(&headers).as_slice(),
            &mut |completion| outlet.push(completion),
        )
    }

    fn failed(&mut self, request: &SendRequest, error: &io::Error) {
        tracing::debug!(to = %request.to, %error, "sending failed");
        let code = error.raw_os_error().unwrap_or_default().unsigned_abs();
        self.outlet.push(Completion::Sent {
            token: request.token,
            at: now(),
            status: SendStatus::Failed(code),
        });
        if !self.address_gone && !is_local(self.port.local()) {
            self.address_gone = true;
            let event = Completion::Event(EndpointEvent::AddressChanged);
            self.outlet.push(event);
        }
    }
}

/// Where a peer receives: at the same UDP port as this endpoint, on the same link if its address needs one.
fn peer(ip: IpAddr, local: SocketAddr) -> SocketAddr {
    let mut peer = local;
    peer.set_ip(ip);
    if let SocketAddr::V6(peer) = &mut peer
        && !peer.ip().is_unicast_link_local()
    {
        peer.set_scope_id(0);
    }
    peer
}

/// Whether this host has the address (still).
pub(super) fn is_local(mut address: SocketAddr) -> bool {
    address.set_port(0);
    !matches!(
        UdpSocket::bind(address),
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable
    )
}

impl Endpoint for UserspaceEndpoint {
    fn address(&self) -> Address {
        self.outlet.address()
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn source_port(&self, label: FlowLabel) -> Option<UdpSourcePort> {
        Some(self.senders.real_port(label.source_port()))
    }

    fn post(&mut self, batch: &[SendRequest]) -> Result<usize, TransportError> {
        self.outlet.alive()?;
        let busy = self.outlet.waiting() + self.senders.unstamped();
        let taken = batch.len().min(SEND_DEPTH.saturating_sub(busy));
        for request in &batch[..taken] {
            if let Err(error) = self.send(request) {
                self.failed(request, &error);
            }
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
        let outlet = &mut self.outlet;
        self.senders
            .poll(cx, &mut |completion| outlet.push(completion));
        self.outlet.poll(cx, out)
    }
}

impl Drop for UserspaceEndpoint {
    fn drop(&mut self) {
        self.port.remove(self.outlet.address().qpn);
    }
}
