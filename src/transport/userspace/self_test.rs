//! A test at start that this system's sockets do what the transport relies on.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::icrc::Identity;
use super::socket::{ControlBuffer, identity_as_sent, receive, sender, wait_readable};

/// How long the socket's own datagram may take from this host to this host.
const LIMIT: Duration = Duration::from_secs(1);

/// What is wrong with this system's sockets.
#[derive(Debug, thiserror::Error)]
pub enum SelfTestError {
    /// Peers would drop every packet: their ICRC would not fit.
    #[error(
        "packets from {local} leave with IPv4 identification {identification} and don't-fragment {dont_fragment}, not \
         with 0 and true as their ICRC needs: something (a namespace's filter, an emulated kernel) rewrites them"
    )]
    Identity {
        /// Where they are sent from.
        local: SocketAddr,
        /// What they have.
        identification: u16,
        /// What they have.
        dont_fragment: bool,
    },
    /// Nothing came back.
    #[error(
        "a datagram from {local} to itself did not arrive within {LIMIT:?}: a packet filter on this host drops UDP to \
         port {}", local.port()
    )]
    Silence {
        /// Where it was sent from and to.
        local: SocketAddr,
    },
    /// It came from elsewhere than it was sent from.
    #[error(
        "a datagram sent from {sent} arrived as one from {arrived}: address translation on this host"
    )]
    Translated {
        /// The sending socket.
        sent: SocketAddr,
        /// What the receiver saw.
        arrived: SocketAddr,
    },
    /// A call failed.
    #[error("testing UDP on {local} failed: {source}")]
    Call {
        /// The address.
        local: SocketAddr,
        /// The cause.
        source: io::Error,
    },
}

/// Whether the kernel stamps what sockets on this address send.
pub(super) fn stamps_sends(mut local: SocketAddr) -> io::Result<bool> {
    local.set_port(0);
    Ok(sender(local)?.stamped)
}

/// Sends from a sending socket of `local` to `socket`, which is bound to it, and looks at what arrives.
pub(super) fn run(local: SocketAddr, socket: &UdpSocket) -> Result<(), SelfTestError> {
    let call = |source| SelfTestError::Call { local, source };
    let mut from = local;
    from.set_port(0);
    let sender = sender(from).map_err(call)?.socket;
    let sent_from = sender.local_addr().map_err(call)?;
    let nonce: [u8; 16] = rand::random();
    sender.send_to(&nonce, local).map_err(call)?;
    let arrived = await_datagram(socket, &nonce)
        .map_err(call)?
        .ok_or(SelfTestError::Silence { local })?;
    if (arrived.ip(), arrived.port()) != (sent_from.ip(), sent_from.port()) {
        return Err(SelfTestError::Translated {
            sent: sent_from,
            arrived,
        });
    }
    match identity_as_sent(from).map_err(call)? {
        Some(Identity::ATOMIC) => Ok(()),
        Some(other) => Err(SelfTestError::Identity {
            local,
            identification: other.identification,
            dont_fragment: other.dont_fragment,
        }),
        None => {
            tracing::debug!(%local, "this system does not show the IP header of sent packets: taken on trust");
            Ok(())
        }
    }
}

/// Waits for the datagram; others that come first are lost, as they would have been before the socket was opened.
fn await_datagram(socket: &UdpSocket, nonce: &[u8]) -> io::Result<Option<SocketAddr>> {
    let mut control = ControlBuffer::new();
    let mut buffer = [0; 64];
    let end = Instant::now() + LIMIT;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        if !wait_readable(socket, left)? {
            return Ok(None);
        }
        match receive(socket, &mut buffer, &mut control) {
            Ok(arrival) if buffer.get(..arrival.len) == Some(nonce) => {
                return Ok(Some(arrival.from));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}
