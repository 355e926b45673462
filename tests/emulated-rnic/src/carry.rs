//! What carries datagrams: UDP sockets on loopback, with a header of this library in front of the payload.
//!
//! ```text
//!   0 source GID [16]   16 destination GID [16]   32 sender's QPN u32   36 Q_Key u32
//!  40 departure u64, nanoseconds of CLOCK_MONOTONIC    48 traffic class u8    49 receiver's QPN u32
//!  53 UDP source port u16                              55 payload
//! ```
//! Who carries datagrams (`fabric` in the [`table`](crate::table)) reads this header too, and gives a datagram that has arrived to
//! its receiver with the time of its arrival in the place of its departure.

use std::collections::VecDeque;
use std::net::UdpSocket;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rdma_core_sys::abi;

use crate::faults::{anything, low};
use crate::queue::{Completions, Done, locked};
use crate::table::{Device, Steering};
use crate::{clock, world};

/// Length of what precedes the payload of a received datagram.
const GRH: usize = 40;
/// Length of what precedes the payload on loopback.
const HEADER: usize = 55;

/// Buffers of a receive: address and length of each piece.
pub(crate) struct Buffers {
    pub(crate) id: u64,
    pub(crate) pieces: Vec<(usize, usize)>,
}

/// What a queue pair's thread needs.
pub(crate) struct Receiver {
    pub(crate) socket: UdpSocket,
    pub(crate) completions: Arc<Completions>,
    pub(crate) receives: Mutex<VecDeque<Buffers>>,
    pub(crate) device: String,
    pub(crate) port: AtomicU32,
    pub(crate) key: AtomicU32,
    /// `ibv_qp_state`.
    pub(crate) state: AtomicU32,
    /// Datagrams that found a buffer.
    pub(crate) taken: AtomicU64,
    pub(crate) stop: AtomicBool,
}

/// The UDP source port that a packet would have on the wire; 0 where that is not told.
pub(crate) fn source_port(device: &Device, label: u32, number: u32) -> u32 {
    match device.steering {
        // `rdma_flow_label_to_udp_sport` of Linux' include/rdma/ib_verbs.h.
        Steering::Label => (label & 0x3fff) ^ ((label & 0xfc000) >> 14) | 0xc000,
        // As soft-RoCE: `hash_32(qpn, 14)` of Linux' include/linux/hash.h.
        Steering::Pair => 0xc000 + (number.wrapping_mul(0x61c8_8647) >> 18),
        Steering::Driver => 0,
    }
}

/// What precedes the payload of a datagram.
pub(crate) fn header(
    device: &Device,
    attr: &abi::ibv_ah_attr,
    (number, to): (u32, &abi::ibv_send_wr_ud),
    departure: u64,
) -> Vec<u8> {
    let own = device
        .gids
        .iter()
        .find(|gid| gid.port == attr.port_num && gid.index == u32::from(attr.grh.sgid_index));
    let mut packet = Vec::with_capacity(256);
    packet.extend(own.map_or([0; 16], |gid| gid.bytes));
    // SAFETY: any bytes are a GID.
    packet.extend(unsafe { attr.grh.dgid.raw });
    packet.extend(number.to_be_bytes());
    packet.extend(to.remote_qkey.to_be_bytes());
    packet.extend(departure.to_be_bytes());
    packet.push(attr.grh.traffic_class);
    packet.extend(to.remote_qpn.to_be_bytes());
    let port = source_port(device, attr.grh.flow_label, number);
    packet.extend(u16::try_from(port).unwrap_or(0).to_be_bytes());
    packet
}

impl Receiver {
    pub(crate) fn run(&self) {
        let mut packet = [0; 4096];
        while !self.stop.load(Ordering::Relaxed) {
            // Time is up, or nobody took what was sent to somebody.
            let Ok(length) = self.socket.recv(&mut packet) else {
                continue;
            };
            let device = world::device(&self.device).unwrap_or_default();
            self.take(&device, &packet[..length]);
        }
    }

    /// Leaves all that is posted in error, and takes nothing more.
    pub(crate) fn fail(&self) {
        self.state.store(abi::IBV_QPS_ERR, Ordering::Relaxed);
        for buffers in locked(&self.receives).drain(..) {
            self.completions.push(Done {
                id: buffers.id,
                status: abi::IBV_WC_WR_FLUSH_ERR,
                ..Done::default()
            });
        }
    }

    fn take(&self, device: &Device, packet: &[u8]) {
        let Some((header, payload)) = packet.split_first_chunk::<HEADER>() else {
            return;
        };
        let word = |at: usize| {
            u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let (source, target) = (&header[..16], &header[16..32]);
        let port = self.port.load(Ordering::Relaxed);
        let is_up = device
            .ports
            .iter()
            .any(|one| u32::from(one.number) == port && one.state == abi::IBV_PORT_ACTIVE);
        let ours = device.gids.iter().any(|gid| {
            gid.kind == abi::IBV_GID_TYPE_ROCE_V2
                && u32::from(gid.port) == port
                && gid.bytes == *target
        });
        if !is_up || !ours || word(36) != self.key.load(Ordering::Relaxed) {
            return;
        }
        let departure = u64::from(word(40)) << 32 | u64::from(word(44));
        let arrival = self.arrival(device, departure);
        let whole = [&grh(source, target, header[48], payload.len())[..], payload].concat();
        self.deliver(device, &whole, word(32), arrival);
    }

    /// When a datagram arrives, by the host's clock; waits until then.
    fn arrival(&self, device: &Device, departure: u64) -> u64 {
        let Some(path) = device.path else {
            return clock::now();
        };
        let arrival = departure.saturating_add(path);
        while let wait @ 1.. = arrival.saturating_sub(clock::now())
            && !self.stop.load(Ordering::Relaxed)
        {
            thread::sleep(Duration::from_nanos(wait.min(10_000_000)));
        }
        arrival
    }

    fn deliver(&self, device: &Device, whole: &[u8], source: u32, arrival: u64) {
        let mut receives = locked(&self.receives);
        let Some(buffers) = receives.pop_front() else {
            return;
        };
        let mut rest = whole;
        for (at, room) in &buffers.pieces {
            let (now, later) = rest.split_at(rest.len().min(*room));
            let to: *mut u8 = ptr::with_exposed_provenance_mut(*at);
            // SAFETY: a posted buffer is valid until its completion, or until the queue pair is reset, which waits for
            // the lock that is held here.
            unsafe { ptr::copy_nonoverlapping(now.as_ptr(), to, now.len()) };
            rest = later;
        }
        drop(receives);
        let count = self.taken.fetch_add(1, Ordering::Relaxed) + 1;
        let status = match device.receive_error {
            Some((nth, status)) if count.is_multiple_of(nth) => status,
            _ => abi::IBV_WC_SUCCESS,
        };
        let mut done = Done {
            id: buffers.id,
            status,
            length: u32::try_from(whole.len()).unwrap_or(u32::MAX),
            source,
            flags: abi::IBV_WC_GRH,
            ..Done::default()
        };
        if let Some(number) = anything(device) {
            done.length = low(number);
            done.flags = low(number.rotate_left(9));
            done.source = low(number.rotate_left(21));
        }
        self.completions.push(done.stamped(device, arrival));
        if status != abi::IBV_WC_SUCCESS {
            self.fail();
        }
    }
}

/// What a UD queue pair finds before a datagram: the IPv6 header, or twenty bytes of nothing and the IPv4 header.
fn grh(source: &[u8], target: &[u8], class: u8, payload: usize) -> [u8; GRH] {
    let mut grh = [0; GRH];
    if source[..12] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff] {
        let length = u16::try_from(20 + 8 + 12 + 8 + payload + 4).unwrap_or(u16::MAX);
        let ip = &mut grh[20..];
        ip[0] = 0x45;
        ip[1] = class;
        ip[2..4].copy_from_slice(&length.to_be_bytes());
        (ip[8], ip[9]) = (64, 17);
        ip[12..16].copy_from_slice(&source[12..]);
        ip[16..20].copy_from_slice(&target[12..]);
        let sum: u32 = ip
            .chunks_exact(2)
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
            .sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        let check = !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or(0);
        ip[10..12].copy_from_slice(&check.to_be_bytes());
    } else {
        grh[0] = 0x60 | class >> 4;
        grh[1] = class << 4;
        (grh[6], grh[7]) = (17, 64);
        grh[8..24].copy_from_slice(source);
        grh[24..].copy_from_slice(target);
    }
    grh
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_ports_follow_what_steers() {
        let port = |steering, label, number| {
            let device = Device {
                steering,
                ..Device::default()
            };
            source_port(&device, label, number)
        };
        assert_eq!(port(Steering::Label, 1, 17), 0xc001);
        assert_eq!(port(Steering::Label, 0xfc000, 17), 0xc03f);
        // As in the agent's own test of soft-RoCE's rule.
        assert_eq!(port(Steering::Pair, 1, 17), 0xc000 + 0x1f94);
        assert_eq!(port(Steering::Driver, 1, 17), 0);
    }

    #[test]
    fn the_ipv4_header_in_a_grh_has_a_right_checksum() {
        let gid = |last| [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, last];
        let grh = grh(&gid(1), &gid(2), 0x6a, 50);
        let sum: u32 = grh[20..]
            .chunks_exact(2)
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
            .sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
        assert_eq!(grh[21], 0x6a);
    }
}
