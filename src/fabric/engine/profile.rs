//! What a healthy fabric is like.

use std::time::Duration;

use crate::fabric::link::LinkProfile;

/// What a healthy fabric is like.
#[derive(Debug, Clone, Copy)]
pub struct Profile {
    /// Links between RNICs and ToRs.
    pub host_link: LinkProfile,
    /// Links between switches.
    pub fabric_link: LinkProfile,
    /// From posting a send to its completion's time stamp.
    pub send_delay: Duration,
    /// From a completion's time stamp to its being handed over: at least.
    pub handover: Duration,
    /// And up to so much more.
    pub handover_spread: Duration,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            host_link: LinkProfile {
                delay: Duration::from_nanos(600),
                rate: 100_000_000_000,
                queue: 512 << 10,
            },
            fabric_link: LinkProfile {
                delay: Duration::from_micros(1),
                rate: 400_000_000_000,
                queue: 1 << 20,
            },
            send_delay: Duration::from_nanos(300),
            handover: Duration::from_micros(1),
            handover_spread: Duration::from_micros(2),
        }
    }
}
