//! UDP sockets whose packets have the IP header that the ICRC assumes, with the kernel's packet time stamps.
//!
//! What a system must supply (`system`):
//! - `prepare_receiver`: receive time stamps where the system has them; for IPv6 also datagrams without UDP checksum, which soft-RoCE sends;
//! - `prepare_sender`: unconnected datagrams leave with identification 0 and the don't-fragment bit; send time stamps
//!   where the system has them, and whether it has;
//! - `receive`: one datagram with sender, time stamp and the number of datagrams dropped so far, where known;
//! - `sent_stamp`: the next send time stamp with the number of its datagram, counted from 0 for each socket;
//! - `identity_as_sent`: what the IP header of a datagram sent by such a socket really holds, where it can be seen.
//!
//! All stamps are nanoseconds of the wall clock since the Unix epoch (`CLOCK_REALTIME`), and so are those that
//! [`now`] gives: the stamps of one endpoint come from one clock, whoever read it.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use nix::sys::socket::SockaddrStorage;
use nix::sys::time::TimeVal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, Socket, Type};

use crate::time::{Clock, NicTime, SystemClock};

use super::icrc::Identity;

#[cfg(target_os = "linux")]
#[path = "socket/linux.rs"]
mod system;
#[cfg(not(target_os = "linux"))]
#[path = "socket/macos.rs"]
mod system;

pub(super) use system::{ControlBuffer, receive, sent_stamp};

/// The receive buffer that is asked for, in bytes; the system may give less. Bursts of probes wait here while the
/// process does not run: a datagram takes about 1 KiB of it, so this is some thousand.
const RECEIVE_BUFFER: usize = 4 << 20;

/// A received datagram.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    /// Its length, possibly cut to the buffer's.
    pub(super) len: usize,
    /// Who sent it.
    pub(super) from: SocketAddr,
    /// When the kernel took it from the interface.
    pub(super) stamp: Option<NicTime>,
    /// How many datagrams the kernel dropped so far because the socket's buffer was full; wraps.
    pub(super) dropped: Option<u32>,
}

/// A socket to send from.
#[derive(Debug)]
pub(super) struct SendingSocket {
    pub(super) socket: UdpSocket,
    /// Whether the kernel stamps what it sends.
    pub(super) stamped: bool,
}

/// The clock of all stamps.
pub(super) fn now() -> NicTime {
    NicTime::from_nanos(SystemClock.wall().nanos())
}

/// A time stamp of `SO_TIMESTAMP`.
fn microseconds(stamp: TimeVal) -> Option<NicTime> {
    let micros = i128::from(stamp.tv_sec()) * 1_000_000 + i128::from(stamp.tv_usec());
    i64::try_from(micros * 1_000).ok().map(NicTime::from_nanos)
}

fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    address
        .as_sockaddr_in()
        .map(|v4| SocketAddr::from(*v4))
        .or_else(|| address.as_sockaddr_in6().map(|v6| SocketAddr::from(*v6)))
}

fn open(local: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    if local.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// A socket that receives at `local`, which nobody else may use.
pub(super) fn receiver(local: SocketAddr) -> io::Result<UdpSocket> {
    let socket = open(local)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    system::prepare_receiver(&socket, local.is_ipv6())?;
    socket.bind(&local.into())?;
    Ok(socket.into())
}

/// A socket that sends from `local`. Several sockets of one user may send from the same address and port: answers
/// come to the receiving socket, so nobody misses anything.
pub(super) fn sender(local: SocketAddr) -> io::Result<SendingSocket> {
    let socket = open(local)?;
    socket.set_reuse_port(true)?;
    let stamped = system::prepare_sender(&socket, local.is_ipv6())?;
    socket.bind(&local.into())?;
    Ok(SendingSocket {
        socket: socket.into(),
        stamped,
    })
}

/// What a datagram from such a sending socket has in its IPv4 header; `None` where that cannot be seen. It is sent to
/// the socket itself.
pub(super) fn identity_as_sent(from: SocketAddr) -> io::Result<Option<Identity>> {
    system::identity_as_sent(from)
}

/// Sets the DSCP and ECN bits of what the socket sends.
pub(super) fn set_traffic_class(socket: &UdpSocket, traffic_class: u8, v6: bool) -> io::Result<()> {
    let socket = socket2::SockRef::from(socket);
    if v6 {
        socket.set_tclass_v6(u32::from(traffic_class))
    } else {
        socket.set_tos_v4(u32::from(traffic_class))
    }
}

/// Waits until there is something to read. Only for the test at start: it blocks.
pub(super) fn wait_readable(socket: &UdpSocket, limit: Duration) -> io::Result<bool> {
    wait(socket, PollFlags::IN, limit)
}

fn wait(socket: &UdpSocket, what: PollFlags, limit: Duration) -> io::Result<bool> {
    let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
    let mut fds = [PollFd::new(socket, what)];
    Ok(poll(&mut fds, Some(&limit))? > 0)
}
