//! macOS: `IP_DONTFRAG` and `SO_TIMESTAMP`.
//!
//! A datagram that may not be fragmented leaves with identification 0 while `net.inet.ip.rfc6864` is 1, the default
//! (`bsd/netinet/ip_output.c` of XNU). There are receive time stamps in microseconds and no send time stamps; the
//! process reads the same clock when it sends.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::sys::socket::sockopt::{IpDontFrag, Ipv6DontFrag, ReceiveTimestamp};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt};
use nix::sys::time::TimeVal;
use socket2::Socket;

use crate::time::NicTime;

use super::super::icrc::Identity;
use super::{Arrival, microseconds, socket_address};

/// Room for the control messages of one datagram, reused from call to call.
#[derive(Debug)]
pub(in super::super) struct ControlBuffer(Vec<u8>);

impl ControlBuffer {
    pub(in super::super) fn new() -> Self {
        Self(nix::cmsg_space!(TimeVal, [u8; 64]))
    }
}

pub(super) fn prepare_receiver(socket: &Socket, _v6: bool) -> io::Result<()> {
    setsockopt(socket, ReceiveTimestamp, &true)?;
    Ok(())
}

pub(super) fn prepare_sender(socket: &Socket, v6: bool) -> io::Result<bool> {
    if v6 {
        setsockopt(socket, Ipv6DontFrag, &true)?;
    } else {
        setsockopt(socket, IpDontFrag, &true)?;
    }
    Ok(false)
}

pub(in super::super) fn receive(
    socket: &impl AsRawFd,
    buffer: &mut [u8],
    control: &mut ControlBuffer,
) -> io::Result<Arrival> {
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut parts,
        Some(&mut control.0),
        MsgFlags::MSG_DONTWAIT,
    )?;
    let from = message
        .address
        .as_ref()
        .and_then(socket_address)
        .ok_or_else(|| io::Error::other("a datagram without an IP source address"))?;
    let stamp = message.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::ScmTimestamp(time) => microseconds(time),
        _ => None,
    });
    Ok(Arrival {
        len: message.bytes,
        from,
        stamp,
        dropped: None,
    })
}

/// There are no send time stamps to wait for.
pub(in super::super) fn sent_stamp(
    _socket: &UdpSocket,
    _control: &mut ControlBuffer,
) -> io::Result<(u32, NicTime)> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(super) fn identity_as_sent(from: SocketAddr) -> io::Result<Option<Identity>> {
    Ok(from.is_ipv6().then_some(Identity::ATOMIC))
}
