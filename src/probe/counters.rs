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
    /// Probes that were handed out for sending, or failed for want of a port that is up.
    probes_sent,
    /// Probes that were measured.
    probes_completed,
    /// Probes that nothing came back of.
    probes_lost,
    /// Probes that tell nothing about the network.
    probes_invalid,
    /// Turns that passed while the process was late or the cap did not allow them. They are not caught up.
    slots_missed,
    /// Turns that were skipped because too many probes were under way.
    slots_window_full,
    /// ACKs that came after their probe had been given up.
    acks_late,
    /// ACKs that had come before.
    acks_duplicate,
    /// ACKs that belong to no probe of this session: stale, forged, or from another peer.
    acks_unmatched,
    /// Packets that are not probes or ACKs of a version we know.
    packets_malformed,
    /// Packets that are not signed with our cluster key, or signed when we have none.
    packets_unauthentic,
    /// Probes whose first ACK was handed out for sending.
    probes_answered,
    /// Probes that were not answered because their source asks too often.
    probes_refused_rate,
    /// Probes that were not answered because too many answers are under way.
    probes_refused_full,
    /// First or second ACKs that could not be sent.
    acks_failed,
    /// First ACKs whose send completion never came, so that there is no second.
    acks_expired,
    /// Send completions that belong to nothing.
    completions_unmatched,
    /// Received packets that the endpoint reports to have dropped.
    receive_overflows,
    /// Events of the endpoint that this version does not know.
    events_unknown,
}
