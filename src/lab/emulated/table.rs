//! What the library that emulates RNICs reads of a host: see `tests/emulated-rnic/src/table.rs`.

use std::fmt::Write as _;

use crate::id::{DeviceName, Gid};

/// Where the GID stands in its table: as on most RNICs.
const GID_INDEX: u32 = 3;

/// A RoCE v2 entry, in the words of libibverbs.
const ROCE_V2: u32 = 2;

/// An RNIC as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EmulatedRnic {
    pub(super) device: DeviceName,
    pub(super) gid: Gid,
    /// Whether its port is active.
    pub(super) is_up: bool,
    /// Nanoseconds by which its clock is ahead of the host's.
    pub(super) ahead: i64,
    /// Millionths by which it runs too fast.
    pub(super) drift: i64,
    /// How often its queue pairs were destroyed.
    pub(super) restarts: u64,
    /// Whether it stamps with a counter alone, as many RNICs do.
    pub(super) counter_only: bool,
}

/// The table of a host; what its RNICs send goes to this UDP port.
pub(super) fn text<'a>(rnics: impl IntoIterator<Item = &'a EmulatedRnic>, fabric: u16) -> String {
    let mut text = String::new();
    for rnic in rnics {
        let state = if rnic.is_up { 4 } else { 1 };
        let clock = if rnic.counter_only {
            "clock 48 156250\nrefuse cq wall 95"
        } else {
            "clock 64 1000000"
        };
        // Writing to text does not fail.
        let _ = write!(
            text,
            "dev {} 0 0 0\nport 1 {state} 2 5 256 0\ngid 1 {GID_INDEX} {} {ROCE_V2} 0\n{clock}\ndrift {}\nstep {}\npath 0\n\
             steer label\nfabric {fabric}\n",
            rnic.device, rnic.gid, rnic.drift, rnic.ahead
        );
        for number in 1..=rnic.restarts {
            // A fatal error of the device: its queue pairs are gone.
            let _ = writeln!(text, "event {number} 8 0");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_all_that_the_library_reads() {
        let rnic = |device: &str, counter_only: bool| EmulatedRnic {
            device: device.into(),
            gid: "10.0.0.5".parse().expect("a GID"),
            is_up: !counter_only,
            ahead: -7,
            drift: 12,
            restarts: u64::from(counter_only),
            counter_only,
        };
        insta::assert_snapshot!(text(&[rnic("rdma0", false), rnic("rdma1", true)], 4_711), @r"
        dev rdma0 0 0 0
        port 1 4 2 5 256 0
        gid 1 3 10.0.0.5 2 0
        clock 64 1000000
        drift 12
        step -7
        path 0
        steer label
        fabric 4711
        dev rdma1 0 0 0
        port 1 1 2 5 256 0
        gid 1 3 10.0.0.5 2 0
        clock 48 156250
        refuse cq wall 95
        drift 12
        step -7
        path 0
        steer label
        fabric 4711
        event 1 8 0
        ");
    }
}
