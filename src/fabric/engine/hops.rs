//! Packets whose hop limit ends on a switch, and the answers to them: what path tracing works with.

use super::{Cargo, Engine, HOP_LIMIT, LinkId, OVERHEAD, Packet, RnicId};
use crate::fabric::topology::{Flow, NodeId};
use crate::id::{Gid, UdpSourcePort};
use crate::time::HostTime;

/// Bytes of an ICMP time-exceeded answer on the wire, without the quoted packet's payload.
const ANSWER_BYTES: u64 = 38 + 20 + 8 + 28;

/// A switch said that a packet expired there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HopAnswer {
    /// As given to [`Engine::send_ttl_probe`].
    pub token: u64,
    /// The RNIC that had sent the packet and received the answer.
    pub rnic: RnicId,
    /// The switch.
    pub switch: NodeId,
    /// When the answer arrived.
    pub at: HostTime,
}

impl Engine {
    /// Sends a packet with the 5-tuple of probes that expires on the `hop_limit`-th switch of its path. The switch's
    /// answer comes by [`Self::drain_hop_answers`], unless a fault or the switch's rate limit swallows it. A packet
    /// that gets to its target is dropped there without an answer.
    pub fn send_ttl_probe(
        &mut self,
        now: HostTime,
        rnic: RnicId,
        to: Gid,
        port: UdpSourcePort,
        hop_limit: u8,
        token: u64,
    ) {
        let now = now.nanos().max(self.now);
        let limit = hop_limit.max(1);
        self.emit(now, rnic, to, port, OVERHEAD, limit, Cargo::Probe(token));
    }

    /// The answers that have arrived since the last call.
    pub fn drain_hop_answers(&mut self, out: &mut Vec<HopAnswer>) {
        out.append(&mut self.answers);
    }

    /// The answer to a packet that expires at the end of `link`, on its way back; `None` if the switch gives none.
    pub(super) fn expire(&mut self, packet: &Packet, link: LinkId, at: i64) -> Option<Packet> {
        let Cargo::Probe(token) = packet.cargo else {
            return None;
        };
        self.totals.time_exceeded += 1;
        let switch = self.topology.head(link);
        let state = self.switches.get_mut(switch.0 as usize)?;
        if packet.corrupted || !state.may_answer(at) {
            return None;
        }
        Some(Packet {
            flow: Flow {
                source: packet.flow.target,
                target: packet.flow.source,
                port: packet.flow.port,
            },
            path: packet.path.back(usize::from(packet.hop)),
            counted_as: None,
            bytes: ANSWER_BYTES,
            hop: 0,
            hop_limit: HOP_LIMIT,
            corrupted: false,
            arrived: at,
            cargo: Cargo::TimeExceeded(HopAnswer {
                token,
                rnic: packet.flow.source,
                switch,
                at: HostTime::from_nanos(at),
            }),
        })
    }
}
