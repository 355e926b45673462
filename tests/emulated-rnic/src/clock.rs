//! The clocks that stamp completions.

use std::sync::LazyLock;

use crate::table::Device;

/// The host's monotonic clock, which all processes of the host share, in nanoseconds.
pub(crate) fn now() -> u64 {
    read(libc::CLOCK_MONOTONIC)
}

/// By how much wall time is ahead of it; read once, so that only `step` makes the wall clock step.
static WALL: LazyLock<u64> =
    LazyLock::new(|| read(libc::CLOCK_REALTIME).saturating_sub(read(libc::CLOCK_MONOTONIC)));

fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the struct is writable and the clock exists.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000
        + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// What a device's clock shows at a moment of the host's monotonic clock: ticks of its counter, and nanoseconds of its wall
/// clock. Zeros where it has none.
pub(crate) fn shown(device: &Device, at: u64) -> (u64, u64) {
    let Some(clock) = device.clock else {
        return (0, 0);
    };
    let own = i128::from(at) * (1_000_000 + i128::from(device.drift)) / 1_000_000
        + i128::from(device.step);
    let ticks = own * i128::from(clock.khz) / 1_000_000;
    let ticks = ticks & i128::from(mask(clock.bits));
    (
        u64::try_from(ticks).unwrap_or(0),
        u64::try_from(own + i128::from(*WALL)).unwrap_or(0),
    )
}

/// The bits of a counter.
pub(crate) fn mask(bits: u32) -> u64 {
    u64::MAX.checked_shr(64 - bits.clamp(1, 64)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Clock;

    fn device(bits: u32, khz: u64, drift: i64, step: i64) -> Device {
        Device {
            clock: Some(Clock { bits, khz }),
            drift,
            step,
            ..Device::default()
        }
    }

    #[test]
    fn a_counter_wraps_drifts_and_steps() {
        let ticks = |device: &Device, at| shown(device, at).0;
        // 1 MHz, 10 bits: a tick is a microsecond, and after 1 024 of them it begins anew.
        let small = device(10, 1_000, 0, 0);
        assert_eq!(ticks(&small, 1_023_000), 1_023);
        assert_eq!(ticks(&small, 1_024_000), 0);
        let fast = device(64, 1_000_000, 50, 0);
        assert_eq!(ticks(&fast, 1_000_000_000), 1_000_050_000);
        let slow = device(64, 1_000_000, -50, 0);
        assert_eq!(ticks(&slow, 1_000_000_000), 999_950_000);
        let ahead = device(64, 1_000_000, 0, 7);
        assert_eq!(ticks(&ahead, 1_000), 1_007);
        assert_eq!(shown(&ahead, 1_000).1, 1_007 + *WALL);
        // Behind the beginning of its time a counter of 48 bits stands near its end.
        assert_eq!(ticks(&device(48, 1_000_000, 0, -8), 0), mask(48) - 7);
    }

    #[test]
    fn a_device_without_a_clock_shows_nothing() {
        assert_eq!(shown(&Device::default(), 5), (0, 0));
    }
}
