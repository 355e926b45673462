//! Packets that others bring and take away: the fabric carries them along their path, with all that happens there.

use super::{Cargo, Engine, HOP_LIMIT, OVERHEAD, RnicId, What};
use crate::id::{Gid, UdpSourcePort};
use crate::time::HostTime;

/// A packet that has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried {
    /// As given to [`Engine::carry`].
    pub number: u64,
    /// When it arrived at its RNIC. It is handed out later: as completions are.
    pub arrived: HostTime,
}

impl Engine {
    /// Sends a packet of so many bytes of payload from an RNIC to a GID. Where it arrives whole it comes by
    /// [`Self::drain_carried`], under its number. Returns when it left its RNIC.
    pub fn carry(
        &mut self,
        now: HostTime,
        rnic: RnicId,
        (to, port): (Gid, UdpSourcePort),
        payload: u64,
        number: u64,
    ) -> HostTime {
        let now = now.nanos().max(self.now);
        let cargo = Cargo::Brought(number);
        self.emit(now, rnic, to, port, OVERHEAD + payload, HOP_LIMIT, cargo);
        HostTime::from_nanos(now)
    }

    /// The packets that have arrived since the last call.
    pub fn drain_carried(&mut self, out: &mut Vec<Carried>) {
        out.append(&mut self.carried);
    }

    /// How an RNIC's clock stands: nanoseconds ahead of the host's, and millionths that it runs too fast.
    pub fn clock_of(&self, rnic: RnicId) -> (i64, i64) {
        self.rnics[rnic.index()].clock.stand()
    }

    /// Hands a packet out, unless it was damaged, or later where the host handles nothing now.
    pub(super) fn hand_out(&mut self, slot: u32, number: u64) {
        let packet = &self.packets[slot as usize];
        let (rnic, arrived) = (packet.flow.target, packet.arrived);
        if packet.corrupted {
            self.rnic_counters[rnic.index()].icrc_errors += 1;
            self.totals.icrc_errors += 1;
        } else if let Some(later) = self.stalled_until(rnic) {
            return self.schedule(later, What::Arrive(slot));
        } else {
            self.totals.delivered += 1;
            self.carried.push(Carried {
                number,
                arrived: HostTime::from_nanos(arrived),
            });
        }
        self.release(Some(slot));
    }
}
