//! Linux: `IP_MTU_DISCOVER`, `SO_TIMESTAMPING` and the socket's error queue.
//!
//! An unconnected socket with `IP_PMTUDISC_DO` sends identification 0 and DF (`ip_select_ident_segs`,
//! `include/net/ip.h`: a connected one counts up). Send time stamps come through the error queue
//! (`Documentation/networking/timestamping.rst`); without `SOF_TIMESTAMPING_OPT_TSONLY` they bring the packet along as
//! it left, headers included, which lets an unprivileged process see its own IP header.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::sockopt::{ReceiveTimestamp, RxqOvfl, Timestamping};
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, TimestampingFlag, Timestamps, recvmsg,
    setsockopt,
};
use nix::{setsockopt_impl, sockopt_impl};
use rustix::event::PollFlags;
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
};
use socket2::Socket;

use crate::time::NicTime;

use super::super::icrc::Identity;
use super::{Arrival, microseconds, socket_address};

/// How long the test at start waits for its own packet to come back on the error queue.
const ECHO_LIMIT: Duration = Duration::from_millis(200);
/// `SO_EE_ORIGIN_TIMESTAMPING`, `linux/errqueue.h`.
const ORIGIN_TIMESTAMPING: u8 = 4;

sockopt_impl!(
    /// Accept datagrams without UDP checksum over IPv6 (RFC 6936).
    NoCheck6Receive,
    SetOnly,
    libc::IPPROTO_UDP,
    libc::UDP_NO_CHECK6_RX,
    bool
);

/// Room for the control messages of one datagram, reused from call to call.
#[derive(Debug)]
pub(in super::super) struct ControlBuffer(Vec<u8>);

impl ControlBuffer {
    pub(in super::super) fn new() -> Self {
        // Arrivals have a stamp and a drop counter, stamps of sent packets an error with an address.
        Self(nix::cmsg_space!(Timestamps, u32, [u8; 64]))
    }
}

pub(super) fn prepare_receiver(socket: &Socket, v6: bool) -> io::Result<()> {
    let flags = TimestampingFlag::SOF_TIMESTAMPING_RX_SOFTWARE
        | TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE;
    if !offered(setsockopt(socket, Timestamping, &flags))? {
        // In microseconds. Without these too, the process reads the clock.
        offered(setsockopt(socket, ReceiveTimestamp, &true))?;
    }
    offered(setsockopt(socket, RxqOvfl, &1))?;
    if v6 {
        setsockopt(socket, NoCheck6Receive, &true)?;
    }
    Ok(())
}

/// Whether an option exists here: what answers system calls in Linux's place, as QEMU's user emulation, lacks some.
fn offered(result: nix::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(Errno::ENOPROTOOPT | Errno::EOPNOTSUPP) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn prepare_sender(socket: &Socket, v6: bool) -> io::Result<bool> {
    forbid_fragments(socket, v6)?;
    let flags = TimestampingFlag::SOF_TIMESTAMPING_TX_SOFTWARE
        | TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE
        | TimestampingFlag::SOF_TIMESTAMPING_OPT_ID
        | TimestampingFlag::SOF_TIMESTAMPING_OPT_TSONLY;
    offered(setsockopt(socket, Timestamping, &flags))
}

fn forbid_fragments(socket: &Socket, v6: bool) -> io::Result<()> {
    if v6 {
        set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::DO)?;
    } else {
        set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::DO)?;
    }
    Ok(())
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
    let mut arrival = Arrival {
        len: message.bytes,
        from,
        stamp: None,
        dropped: None,
    };
    for message in message.cmsgs()? {
        match message {
            ControlMessageOwned::ScmTimestampsns(stamps) => arrival.stamp = software(&stamps),
            ControlMessageOwned::ScmTimestamp(stamp) => arrival.stamp = microseconds(stamp),
            ControlMessageOwned::RxqOvfl(count) => arrival.dropped = Some(count),
            _ => {}
        }
    }
    Ok(arrival)
}

fn software(stamps: &Timestamps) -> Option<NicTime> {
    let nanos = stamps
        .system
        .tv_sec()
        .checked_mul(1_000_000_000)?
        .checked_add(stamps.system.tv_nsec())?;
    (nanos != 0).then(|| NicTime::from_nanos(nanos))
}

pub(in super::super) fn sent_stamp(
    socket: &UdpSocket,
    control: &mut ControlBuffer,
) -> io::Result<(u32, NicTime)> {
    loop {
        let mut parts = [];
        let message = recvmsg::<()>(
            socket.as_raw_fd(),
            &mut parts,
            Some(&mut control.0),
            MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT,
        )?;
        let (mut at, mut number) = (None, None);
        for message in message.cmsgs()? {
            match message {
                ControlMessageOwned::ScmTimestampsns(stamps) => at = software(&stamps),
                ControlMessageOwned::Ipv4RecvErr(error, _)
                | ControlMessageOwned::Ipv6RecvErr(error, _)
                    if error.ee_origin == ORIGIN_TIMESTAMPING =>
                {
                    number = Some(error.ee_data);
                }
                _ => {}
            }
        }
        if let (Some(number), Some(at)) = (number, at) {
            return Ok((number, at));
        }
    }
}

pub(super) fn identity_as_sent(from: SocketAddr) -> io::Result<Option<Identity>> {
    if from.is_ipv6() {
        // Neither field exists.
        return Ok(Some(Identity::ATOMIC));
    }
    let socket = super::open(from)?;
    forbid_fragments(&socket, false)?;
    let flags = TimestampingFlag::SOF_TIMESTAMPING_TX_SOFTWARE
        | TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE;
    if !offered(setsockopt(&socket, Timestamping, &flags))? {
        return Ok(None);
    }
    socket.bind(&from.into())?;
    let socket = UdpSocket::from(socket);
    let own = socket.local_addr()?;
    // Two packets: a socket that counted would number them 0 and 1 or start anywhere.
    let mut last = None;
    for _ in 0..2 {
        socket.send_to(&[], own)?;
        // Errors are always waited for.
        if !super::wait(&socket, PollFlags::empty(), ECHO_LIMIT)? {
            return Ok(None);
        }
        let mut frame = [0_u8; 256];
        let len = {
            let mut parts = [IoSliceMut::new(&mut frame)];
            recvmsg::<()>(
                socket.as_raw_fd(),
                &mut parts,
                None,
                MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT,
            )?
            .bytes
        };
        last = identity_in_frame(&frame[..len.min(256)], own, own);
        if last != Some(Identity::ATOMIC) {
            break;
        }
    }
    Ok(last)
}

/// Finds the IPv4 header of a UDP datagram between these addresses behind a link header of unknown length.
fn identity_in_frame(frame: &[u8], from: SocketAddr, to: SocketAddr) -> Option<Identity> {
    let (SocketAddr::V4(from), SocketAddr::V4(to)) = (from, to) else {
        return None;
    };
    frame.windows(20).find_map(|header| {
        let matches = header[0] == 0x45
            && header[9] == 17
            && header[12..16] == from.ip().octets()
            && header[16..20] == to.ip().octets();
        matches.then(|| Identity {
            identification: u16::from_be_bytes([header[4], header[5]]),
            dont_fragment: header[6] & 0x40 != 0,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_leave_atomic_and_stamped() {
        let local = "127.0.0.1:0".parse().expect("address");
        assert!(super::super::sender(local).expect("opens").stamped);
        assert_eq!(
            identity_as_sent(local).expect("sends"),
            Some(Identity::ATOMIC)
        );
    }

    #[test]
    fn the_ip_header_is_found_behind_an_ethernet_header() {
        let from = "10.0.9.2:1".parse().expect("address");
        let to = "10.0.9.1:2".parse().expect("address");
        let mut frame = vec![0; 14];
        frame.extend([0x45, 0, 0, 28, 0x12, 0x34, 0, 0, 64, 17, 0, 0]);
        frame.extend([10, 0, 9, 2, 10, 0, 9, 1, 0, 1, 0, 2, 0, 8, 0, 0]);
        let found = identity_in_frame(&frame, from, to);
        assert_eq!(
            found,
            Some(Identity {
                identification: 0x1234,
                dont_fragment: false
            })
        );
        assert_eq!(identity_in_frame(&frame, to, from), None);
        assert_eq!(identity_in_frame(&frame[..20], from, to), None);
    }
}
