//! What goes wrong on purpose: calls that fail, and answers that may be anything.

use std::ffi::c_int;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::table::Device;

/// Codes that calls of a device with `chaos` fail with: what kernels and libraries give, and what none should.
const CODES: [c_int; 16] = [
    libc::EIO,
    libc::EINVAL,
    libc::ENOMEM,
    libc::EAGAIN,
    libc::EINTR,
    libc::EPERM,
    libc::ENODEV,
    libc::ETIMEDOUT,
    libc::EOPNOTSUPP,
    libc::ENOSYS,
    libc::EBUSY,
    libc::ENOENT,
    9_999,
    c_int::MAX,
    -1,
    -libc::EIO,
];

/// How many numbers were drawn in this process. Which thread draws which is not determined.
static DRAWN: AtomicU64 = AtomicU64::new(0);

/// A number that looks random (SplitMix64, Steele, Lea and Flood, OOPSLA 2014).
fn draw(seed: u64) -> u64 {
    let count = DRAWN.fetch_add(1, Ordering::Relaxed);
    let mut mixed = seed.wrapping_add(count.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A number to make something up from, where the device is to answer anything now.
pub(crate) fn anything(device: &Device) -> Option<u64> {
    let (seed, permille) = device.chaos?;
    (draw(seed) % 1_000 < u64::from(permille)).then(|| draw(seed))
}

/// Why a call fails: the table names it, the device is gone, or it is to fail by chance.
pub(crate) fn refused(device: &Device, call: &str) -> Option<c_int> {
    if device.name.is_empty() {
        return Some(libc::EIO);
    }
    let named = device.failures.iter().find(|(name, _)| name == call);
    named
        .map(|(_, errno)| *errno)
        .or_else(|| anything(device).map(code))
}

/// A code to fail with.
pub(crate) fn code(number: u64) -> c_int {
    CODES[usize::try_from(number % CODES.len() as u64).unwrap_or(0)]
}

/// The lower bits of a number.
pub(crate) const fn low(number: u64) -> u32 {
    (number & 0xffff_ffff) as u32
}

/// The upper bits of a number.
pub(crate) const fn high(number: u64) -> u32 {
    (number >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_fail_by_name_by_chance_or_because_the_device_is_gone() {
        let mut device = Device {
            name: "mlx5_0".to_owned(),
            failures: vec![("ibv_reg_mr".to_owned(), 12)],
            ..Device::default()
        };
        assert_eq!(refused(&device, "ibv_reg_mr"), Some(12));
        assert_eq!(refused(&device, "ibv_alloc_pd"), None);
        device.chaos = Some((1, 1_000));
        assert!(refused(&device, "ibv_alloc_pd").is_some());
        device.chaos = Some((1, 0));
        assert_eq!(anything(&device), None);
        assert_eq!(refused(&Device::default(), "ibv_alloc_pd"), Some(libc::EIO));
    }
}
