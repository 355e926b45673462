//! The class that a packet travels in.

use std::fmt;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// What chooses the queue of a packet in hosts and switches: the traffic class of the IP header, and the service level that an
/// RNIC maps to a priority of its own and to the PCP of VLAN tags. RoCE services travel in a lossless class; probes in another
/// class measure another queue.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct Class {
    /// DSCP and ECN bits of the IP header.
    pub traffic_class: u8,
    /// Service level of the address handle, one of [`Self::LEVELS`].
    pub service_level: u8,
}

impl Class {
    /// Service levels that there are on Ethernet, where they are priorities (IEEE 802.1Q has 8).
    pub const LEVELS: RangeInclusive<u8> = 0..=7;

    /// The DSCP: the traffic class without the ECN bits.
    pub const fn dscp(self) -> u8 {
        self.traffic_class >> 2
    }
}

impl fmt::Display for Class {
    /// `DSCP 26, service level 3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "DSCP {}, service level {}",
            self.dscp(),
            self.service_level
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ecn_bits_are_no_part_of_the_dscp() {
        let class = Class {
            traffic_class: 0x6a,
            service_level: 3,
        };
        assert_eq!(class.dscp(), 26);
        assert_eq!(class.to_string(), "DSCP 26, service level 3");
    }
}
