//! The core of the emulated fabric: packets, queue pairs, faults and a heap of events.
//!
//! Every packet's path is looked up once, when it is sent. Over links that are fast and healthy it is then taken to its
//! end at once and costs a single event; at a link that is slow or has a fault it stops, and an event takes it on when
//! its time has come, so that such a link sees all packets in the order of time. Changes of faults are exact: a packet
//! is never taken past the next one.
//!
//! All randomness comes from one seeded generator and from hashes: the same calls give the same results.

mod carried;
mod faults;
mod hops;
mod profile;
mod reading;
mod rnic;
mod state;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::link::{Fate, Link, Passing};
use super::topology::{Flow, LinkId, Path, RnicId, Topology, mix};
use super::truth::{FaultTruth, Paths, Totals};
use crate::id::{Gid, QKey, Qpn, UdpSourcePort};
use crate::time::{HostTime, Nanos};
use crate::transport::{
    Address, Completion, Payload, Received, SendRequest, SendStatus, SendToken,
};

pub(crate) use carried::Carried;
pub(crate) use hops::HopAnswer;
pub use profile::Profile;
pub(crate) use rnic::RnicCounters;

use rnic::{NicClock, QueuePair, RnicState};
use state::{Change, HostState, SwitchState};

/// Bytes around a payload on the wire: Ethernet with preamble and gap, IPv4, UDP, BTH, DETH, ICRC.
const OVERHEAD: u64 = 38 + 20 + 8 + 12 + 8 + 4;

/// The first QPN of each RNIC; smaller ones are special.
const FIRST_QPN: u32 = 0x11;

/// Hop limit of ordinary packets: never reached.
const HOP_LIMIT: u8 = 64;

#[derive(Debug, Clone, Copy)]
enum Cargo {
    Datagram {
        to_qpn: Qpn,
        q_key: QKey,
        from_qpn: Qpn,
        payload: Payload,
    },
    /// A packet that others brought, by its number.
    Brought(u64),
    /// A packet that is expected to expire.
    Probe(u64),
    /// The answer of a switch where one expired.
    TimeExceeded(HopAnswer),
}

#[derive(Debug, Clone, Copy)]
struct Packet {
    flow: Flow,
    path: Path,
    counted_as: Option<u32>,
    bytes: u64,
    hop: u8,
    hop_limit: u8,
    corrupted: bool,
    arrived: i64,
    cargo: Cargo,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// A packet is at the next link of its path.
    Hop(u32),
    /// A packet is handed over to its receiver.
    Arrive(u32),
    /// A send completion is handed over.
    Sent {
        rnic: u32,
        qpn: u32,
        token: u64,
        stamp: i64,
    },
    /// An RNIC's port changes its state by a flap.
    Port { rnic: u32, fault: u32 },
}

/// Something for an endpoint.
#[derive(Debug, Clone, Copy)]
pub struct Delivery {
    /// When it is handed over.
    pub at: HostTime,
    /// To which RNIC.
    pub rnic: RnicId,
    /// To which of its queue pairs; events go to all.
    pub qpn: Option<Qpn>,
    /// What.
    pub completion: Completion,
}

/// The emulated fabric. See the module.
pub struct Engine {
    topology: Arc<Topology>,
    profile: Profile,
    seed: u64,
    origin: i64,
    now: i64,
    sequence: u64,
    heap: BinaryHeap<Reverse<(i64, u64, What)>>,
    packets: Vec<Packet>,
    free: Vec<u32>,
    links: Vec<Link>,
    rnics: Vec<RnicState>,
    rnic_counters: Vec<RnicCounters>,
    hosts: Vec<HostState>,
    switches: Vec<SwitchState>,
    changes: BinaryHeap<Reverse<Change>>,
    next_change: i64,
    faults: Vec<super::fault::Resolved>,
    fault_truth: Vec<FaultTruth>,
    random: ChaCha8Rng,
    paths: Paths,
    totals: Totals,
    answers: Vec<HopAnswer>,
    carried: Vec<Carried>,
}

impl Engine {
    /// A fabric whose time begins at `origin`.
    pub fn new(topology: Arc<Topology>, profile: Profile, seed: u64, origin: HostTime) -> Self {
        let links = topology
            .links()
            .map(|link| {
                Link::new(if topology.is_host_link(link) {
                    profile.host_link
                } else {
                    profile.fabric_link
                })
            })
            .collect();
        let rnics: Vec<_> = topology
            .rnic_ids()
            .map(|id| RnicState {
                host: topology.rnic(id).host_index,
                clock: NicClock::of(seed, id),
                queue_pairs: Vec::new(),
                opened: 0,
            })
            .collect();
        let switches = topology.rnic_node(RnicId(0)).0 as usize;
        Self {
            profile,
            seed,
            origin: origin.nanos(),
            now: origin.nanos(),
            sequence: 0,
            heap: BinaryHeap::new(),
            packets: Vec::new(),
            free: Vec::new(),
            links,
            rnic_counters: vec![RnicCounters::default(); rnics.len()],
            rnics,
            hosts: topology
                .hosts()
                .iter()
                .map(|_| HostState::default())
                .collect(),
            switches: vec![SwitchState::default(); switches],
            changes: BinaryHeap::new(),
            next_change: i64::MAX,
            faults: Vec::new(),
            fault_truth: Vec::new(),
            random: ChaCha8Rng::seed_from_u64(seed),
            paths: Paths::default(),
            totals: Totals::default(),
            answers: Vec::new(),
            carried: Vec::new(),
            topology,
        }
    }

    /// The address of the `turn`-th queue pair made on an RNIC; QPNs are never used twice.
    pub fn address(topology: &Topology, rnic: RnicId, turn: u32) -> Address {
        let qpn = Qpn::from_lower_bits(FIRST_QPN + turn);
        let key = mix(u64::from(rnic.0) << 24 ^ u64::from(qpn.get()));
        #[expect(clippy::cast_possible_truncation, reason = "any 31 bits are a key")]
        let q_key = QKey(key as u32 & 0x7fff_ffff);
        Address {
            gid: topology.rnic(rnic).gid,
            qpn,
            q_key,
        }
    }

    /// Makes a queue pair on an RNIC.
    pub fn open(&mut self, rnic: RnicId) -> Address {
        let state = &mut self.rnics[rnic.index()];
        let turn = state.opened;
        state.opened += 1;
        let address = Self::address(&self.topology, rnic, turn);
        self.open_as(rnic, address);
        address
    }

    /// Makes a queue pair with an address from [`Self::address`].
    pub fn open_as(&mut self, rnic: RnicId, address: Address) {
        self.rnics[rnic.index()].queue_pairs.push(QueuePair {
            qpn: address.qpn,
            q_key: address.q_key,
        });
    }

    /// Destroys a queue pair: what is on its way to it is dropped.
    pub fn close(&mut self, rnic: RnicId, qpn: Qpn) {
        self.rnics[rnic.index()]
            .queue_pairs
            .retain(|pair| pair.qpn != qpn);
    }

    /// Sends a datagram. Times that were already passed by [`Self::advance`] count as its latest.
    pub fn send(&mut self, now: HostTime, rnic: RnicId, from: Qpn, request: &SendRequest) {
        let now = now.nanos().max(self.now);
        let stamp = now + Nanos::from(self.profile.send_delay).0;
        let cargo = Cargo::Datagram {
            to_qpn: request.to.qpn,
            q_key: request.to.q_key,
            from_qpn: from,
            payload: request.payload,
        };
        let port = request.flow_label.source_port();
        let bytes = OVERHEAD + request.payload.as_slice().len() as u64;
        self.schedule_handover(
            stamp,
            What::Sent {
                rnic: rnic.0,
                qpn: from.get(),
                token: request.token.0,
                stamp,
            },
        );
        self.emit(stamp, rnic, request.to.gid, port, bytes, HOP_LIMIT, cargo);
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of a packet")]
    fn emit(
        &mut self,
        at: i64,
        source: RnicId,
        to: Gid,
        port: UdpSourcePort,
        bytes: u64,
        hop_limit: u8,
        cargo: Cargo,
    ) {
        self.totals.sent += 1;
        let target = self.topology.rnic_by_gid(to);
        let Some(target) = target.filter(|target| self.topology.connects(source, *target)) else {
            self.totals.unroutable += 1;
            return;
        };
        let flow = Flow {
            source,
            target,
            port,
        };
        // The truth of a path is that of the packets that are to arrive.
        let (path, counted_as) = if let Cargo::Probe(_) = cargo {
            (self.topology.path(flow), None)
        } else {
            let (path, counted_as) = self.paths.send(&self.topology, flow);
            if counted_as.is_none() {
                self.totals.untracked += 1;
            }
            (path, counted_as)
        };
        let packet = Packet {
            flow,
            path,
            counted_as,
            bytes,
            hop: 0,
            hop_limit,
            corrupted: false,
            arrived: at,
            cargo,
        };
        self.travel(packet, None, at);
    }

    fn schedule(&mut self, at: i64, what: What) {
        self.sequence += 1;
        self.heap.push(Reverse((at, self.sequence, what)));
    }

    /// Schedules what a host is handed some time after its time stamp.
    fn schedule_handover(&mut self, stamp: i64, what: What) {
        let spread = Nanos::from(self.profile.handover_spread).0.unsigned_abs();
        let hash = u128::from(mix(self.seed ^ self.sequence));
        let extra = i64::try_from((hash * u128::from(spread)) >> 64).unwrap_or_default();
        let least = Nanos::from(self.profile.handover).0;
        self.schedule(stamp.saturating_add(least + extra), what);
    }

    fn keep(&mut self, packet: Packet, slot: Option<u32>) -> u32 {
        if let Some(slot) = slot.or_else(|| self.free.pop()) {
            self.packets[slot as usize] = packet;
            return slot;
        }
        self.packets.push(packet);
        u32::try_from(self.packets.len() - 1).unwrap_or(u32::MAX)
    }

    /// Takes a packet as far as it can go without waiting for its time.
    fn travel(&mut self, mut packet: Packet, slot: Option<u32>, mut at: i64) {
        loop {
            let Some(link) = packet.path.links().get(usize::from(packet.hop)).copied() else {
                packet.arrived = at;
                let slot = self.keep(packet, slot);
                self.schedule_handover(at, What::Arrive(slot));
                return;
            };
            let in_order = self.links[link.index()].needs_order();
            if at >= self.next_change || (in_order && at > self.now) {
                let slot = self.keep(packet, slot);
                self.schedule(at, What::Hop(slot));
                return;
            }
            match self.cross(&mut packet, link, at, in_order) {
                Some(arrival) => at = arrival,
                None => return self.drop_packet(&packet, slot),
            }
            packet.hop += 1;
            if packet.hop == packet.hop_limit && usize::from(packet.hop) < packet.path.links().len()
            {
                match self.expire(&packet, link, at) {
                    Some(answer) => packet = answer,
                    None => return self.release(slot),
                }
            }
        }
    }

    /// When the packet is at the other end of a link, if it gets there.
    fn cross(&mut self, packet: &mut Packet, link: LinkId, at: i64, in_order: bool) -> Option<i64> {
        let state = &mut self.links[link.index()];
        if !in_order {
            return state.cross_healthy(at, packet.bytes);
        }
        let passing = Passing {
            at,
            bytes: packet.bytes,
            flow: packet.flow,
        };
        match state.cross(passing, &mut self.random, &mut self.fault_truth) {
            Fate::Arrives(arrival) => Some(arrival),
            Fate::Corrupted(arrival) => {
                if !packet.corrupted {
                    packet.corrupted = true;
                    self.paths.lose(packet.counted_as);
                }
                Some(arrival)
            }
            Fate::Lost => None,
        }
    }

    fn drop_packet(&mut self, packet: &Packet, slot: Option<u32>) {
        self.totals.lost += 1;
        if !packet.corrupted {
            self.paths.lose(packet.counted_as);
        }
        self.release(slot);
    }

    fn release(&mut self, slot: Option<u32>) {
        self.free.extend(slot);
    }

    /// When something happens next.
    pub fn next_event(&self) -> Option<HostTime> {
        let event = self.heap.peek().map(|Reverse((at, _, _))| *at);
        let change = (self.next_change != i64::MAX).then_some(self.next_change);
        match (event, change) {
            (Some(event), Some(change)) => Some(event.min(change)),
            (event, change) => event.or(change),
        }
        .map(HostTime::from_nanos)
    }

    /// Lets everything happen up to and including `now`; what endpoints are handed is appended to `out`, in order.
    pub fn advance(&mut self, now: HostTime, out: &mut Vec<Delivery>) {
        let until = now.nanos();
        loop {
            let event = self.heap.peek().map_or(i64::MAX, |Reverse((at, _, _))| *at);
            if self.next_change <= event && self.next_change <= until {
                self.now = self.now.max(self.next_change);
                self.apply_next_change(out);
                continue;
            }
            if event > until {
                break;
            }
            let Some(Reverse((at, _, what))) = self.heap.pop() else {
                break;
            };
            self.now = self.now.max(at);
            self.handle(what, out);
        }
        self.now = self.now.max(until);
    }

    fn handle(&mut self, what: What, out: &mut Vec<Delivery>) {
        match what {
            What::Hop(slot) => {
                let packet = self.packets[slot as usize];
                self.travel(packet, Some(slot), self.now);
            }
            What::Arrive(slot) => self.arrive(slot, out),
            What::Sent {
                rnic,
                qpn,
                token,
                stamp,
            } => self.sent(
                RnicId(rnic),
                Qpn::from_lower_bits(qpn),
                token,
                stamp,
                what,
                out,
            ),
            What::Port { rnic, fault } => self.toggle_port(RnicId(rnic), fault, out),
        }
    }

    fn sent(
        &mut self,
        rnic: RnicId,
        qpn: Qpn,
        token: u64,
        stamp: i64,
        what: What,
        out: &mut Vec<Delivery>,
    ) {
        if let Some(later) = self.stalled_until(rnic) {
            return self.schedule(later, what);
        }
        let state = &self.rnics[rnic.index()];
        if state.queue_pairs.iter().any(|pair| pair.qpn == qpn) {
            out.push(Delivery {
                at: HostTime::from_nanos(self.now),
                rnic,
                qpn: Some(qpn),
                completion: Completion::Sent {
                    token: SendToken(token),
                    at: state.clock.read(stamp),
                    status: SendStatus::Sent,
                },
            });
        }
    }

    fn arrive(&mut self, slot: u32, out: &mut Vec<Delivery>) {
        let packet = &self.packets[slot as usize];
        let rnic = packet.flow.target;
        let (to_qpn, q_key, from_qpn, payload) = match packet.cargo {
            Cargo::TimeExceeded(answer) => {
                self.answers.push(HopAnswer {
                    at: HostTime::from_nanos(packet.arrived),
                    ..answer
                });
                return self.release(Some(slot));
            }
            Cargo::Probe(_) => {
                self.rnic_counters[rnic.index()].no_queue_pair += 1;
                self.totals.no_queue_pair += 1;
                return self.release(Some(slot));
            }
            Cargo::Brought(number) => return self.hand_out(slot, number),
            Cargo::Datagram {
                to_qpn,
                q_key,
                from_qpn,
                payload,
            } => (to_qpn, q_key, from_qpn, payload),
        };
        if let Some(later) = self.stalled_until(rnic) {
            return self.schedule(later, What::Arrive(slot));
        }
        let state = &self.rnics[rnic.index()];
        let counters = &mut self.rnic_counters[rnic.index()];
        let known = state
            .queue_pairs
            .iter()
            .any(|pair| pair.qpn == to_qpn && pair.q_key == q_key);
        if packet.corrupted {
            counters.icrc_errors += 1;
            self.totals.icrc_errors += 1;
        } else if known {
            self.totals.delivered += 1;
            out.push(Delivery {
                at: HostTime::from_nanos(self.now),
                rnic,
                qpn: Some(to_qpn),
                completion: Completion::Received(Received {
                    at: state.clock.read(packet.arrived),
                    source_gid: self.topology.rnic(packet.flow.source).gid,
                    source_qpn: from_qpn,
                    source_port: Some(packet.flow.port),
                    payload,
                }),
            });
        } else {
            counters.no_queue_pair += 1;
            self.totals.no_queue_pair += 1;
        }
        self.release(Some(slot));
    }

    /// Until when the host of an RNIC handles nothing, if that is so now.
    fn stalled_until(&self, rnic: RnicId) -> Option<i64> {
        self.hosts[self.rnics[rnic.index()].host as usize].stalled_until(self.now)
    }
}

#[cfg(test)]
mod tests;
