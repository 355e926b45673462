//! From a device's completion counter to nanoseconds.

use rpingmesh::time::{Nanos, NicTime};

/// Converts a counter of limited width to a time that never wraps.
///
/// Completions of the send and the receive side do not come in the order of their stamps, so a stamp may lie a little
/// before the one seen last; each is taken as the point nearest to it. After a pause of more than half the counter's
/// period the time may lack whole periods, which no difference between stamps around one probe can see.
#[derive(Debug, Clone)]
pub(super) struct RawClock {
    width: u32,
    khz: u64,
    /// The last stamp, in ticks since the first period seen.
    last: i128,
}

impl RawClock {
    /// For a counter with the bits of `mask` and `khz` thousand ticks a second, as the device reports them. `None`
    /// where the two cannot describe a counter.
    pub(super) fn new(mask: u64, khz: u64) -> Option<Self> {
        let width = mask.trailing_ones();
        let contiguous = mask.count_ones() == width;
        (contiguous && width > 1 && khz > 0).then_some(Self {
            width,
            khz,
            last: 0,
        })
    }

    /// Half of its period: stamps that lie further apart cannot be put in order, nor subtracted.
    pub(super) fn reach(&self) -> Nanos {
        let ticks = 1i128 << (self.width - 1);
        let nanos = ticks.saturating_mul(1_000_000) / i128::from(self.khz);
        Nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
    }

    /// The time of a stamp.
    pub(super) fn convert(&mut self, stamp: u64) -> NicTime {
        let period = 1i128 << self.width;
        let half = period / 2;
        let stamp = i128::from(stamp) & (period - 1);
        let ahead = (stamp - self.last).rem_euclid(period);
        let step = if ahead >= half { ahead - period } else { ahead };
        self.last += step;
        let nanos = self.last.saturating_mul(1_000_000) / i128::from(self.khz);
        NicTime::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// ConnectX-4 has 156.25 MHz; a small counter wraps within the test.
    fn clock() -> RawClock {
        RawClock::new(0xff_ffff, 156_250).expect("a counter")
    }

    #[test]
    fn ticks_become_nanoseconds() {
        let mut clock = clock();
        let first = clock.convert(1_000);
        let second = clock.convert(1_000 + 156_250);
        assert_eq!(second - first, Nanos(1_000_000));
    }

    #[test]
    fn a_wrap_is_a_step_forward() {
        let mut clock = clock();
        let before = clock.convert(0x7f_ffff);
        let middle = clock.convert(0xff_fff0);
        let after = clock.convert(0x00_0010);
        assert!(before < middle && middle < after);
        assert_eq!(after - middle, Nanos(32 * 64 / 10));
    }

    #[test]
    fn a_stamp_from_before_the_last_one_is_a_step_back_also_over_the_wrap() {
        let mut clock = clock();
        clock.convert(0x7f_ffff);
        clock.convert(0xff_ffff);
        let new = clock.convert(0x00_0005);
        let old = clock.convert(0xff_fffb);
        assert_eq!(new - old, Nanos(10 * 64 / 10));
    }

    #[test]
    fn what_describes_no_counter_is_refused() {
        assert!(RawClock::new(0, 156_250).is_none());
        assert!(RawClock::new(0xffff, 0).is_none());
        assert!(RawClock::new(0b1011, 1).is_none());
    }

    #[test]
    fn a_counter_reaches_over_half_its_period() {
        let reach = |mask, khz| RawClock::new(mask, khz).expect("a counter").reach();
        assert_eq!(reach(0x1_ffff, 1_000), Nanos(65_536_000));
        assert_eq!(reach(u64::from(u32::MAX), 1_000_000), Nanos(1 << 31));
        assert_eq!(reach(u64::MAX, 1), Nanos(i64::MAX));
    }

    #[test]
    fn a_counter_may_have_all_64_bits() {
        let mut clock = RawClock::new(u64::MAX, 1_000_000).expect("a counter");
        let a = clock.convert(u64::MAX - 4);
        let b = clock.convert(5);
        assert_eq!(b - a, Nanos(10));
    }

    proptest! {
        #[test]
        fn differences_survive_any_wrap(
            width in 16u32..=64, start in any::<u64>(), steps in prop::collection::vec(-20_000i64..20_000, 1..50)
        ) {
            let mask = u64::MAX >> (64 - width);
            // 1 GHz: a tick is a nanosecond.
            let mut clock = RawClock::new(mask, 1_000_000).expect("a counter");
            let mut stamp = start;
            let mut last = clock.convert(stamp & mask);
            for step in steps {
                // Within half a period, as the smallest counter has it.
                let step = step.clamp(-30_000, 30_000);
                stamp = stamp.wrapping_add_signed(step);
                let next = clock.convert(stamp & mask);
                prop_assert_eq!(next - last, Nanos(step));
                last = next;
            }
        }
    }
}
