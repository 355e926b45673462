//! What a session has done and refused, since its start.

use std::ops::AddAssign;

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// What a session has done and refused, since its start. Resets do not set it back.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[doc = $doc])* pub $name: u64,)*
        }

        impl Counters {
            /// Names, what they count, and values, for metrics.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
                [$((stringify!($name), concat!($($doc),*), self.$name),)*].into_iter()
            }
        }

        impl AddAssign for Counters {
            fn add_assign(&mut self, other: Self) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

counters! {
    /// Probes that were sent, or that failed because the port is down.
    probes_sent,
    /// Probes that were measured.
    probes_completed,
    /// Probes without a first ACK in time.
    probes_lost,
    /// Probes that say nothing about the network.
    probes_invalid,
    /// Scheduled probes that were skipped because the process was late or the rate cap was reached; they are not sent
    /// later.
    slots_missed,
    /// Scheduled probes that were skipped because too many probes were outstanding.
    slots_window_full,
    /// Scheduled probes that were left out because nothing has ever come back from the target's ToR, though other ToRs answer: it
    /// may be in another plane. One of 16 is sent.
    slots_unanswered,
    /// ACKs that arrived after the timeout of their probe.
    acks_late,
    /// ACKs that arrived a second time.
    acks_duplicate,
    /// ACKs that belong to no probe of this session: stale, forged, or from another peer.
    acks_unmatched,
    /// Packets that are not probes or ACKs of a known version.
    packets_malformed,
    /// Packets without a valid signature of the cluster key, or with a signature although no key is configured.
    packets_unauthentic,
    /// Probes that were answered with a first ACK.
    probes_answered,
    /// Probes that were not answered because their prober exceeds the rate limit.
    probes_refused_rate,
    /// Probes that were not answered because their prober is not known yet, and the probers of its source, or all that are not
    /// known yet, exceed their limit: a restart of many agents, or forged source addresses.
    probes_refused_new,
    /// Probes that were not answered because all sources together exceed the limit.
    probes_refused_busy,
    /// Probes that were not answered because too many answers are outstanding.
    probes_refused_full,
    /// First or second ACKs that could not be sent.
    acks_failed,
    /// First ACKs without a send completion; no second ACK follows.
    acks_expired,
    /// Send completions without a known request.
    completions_unmatched,
    /// Received packets that the endpoint dropped.
    receive_overflows,
    /// Events of the endpoint that this version does not know.
    events_unknown,
}
