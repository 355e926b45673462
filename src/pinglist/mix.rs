//! Deterministic hashing: the same on every machine and in every version, because controllers must agree on it, also
//! after restarts.

/// SplitMix64's finaliser: every input bit affects every output bit.
pub(super) const fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// FNV-1a over the bytes, then [`mix`].
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let state = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |state, byte| {
        (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    mix(state)
}

/// Two keys as one; the order counts.
pub(super) const fn join(a: u64, b: u64) -> u64 {
    mix(a.rotate_left(17) ^ mix(b))
}

/// A keyed permutation of the numbers below 2^14 (a Feistel network over two 7-bit halves).
pub(super) fn permute_14_bits(key: u64, value: u16) -> u16 {
    let mut left = u64::from(value >> 7) & 0x7f;
    let mut right = u64::from(value) & 0x7f;
    for round in 0..4_u64 {
        let scattered = mix(key ^ (round << 56) ^ right) & 0x7f;
        (left, right) = (right, left ^ scattered);
    }
    #[expect(clippy::cast_possible_truncation, reason = "14 bits")]
    let permuted = (left << 7 | right) as u16;
    permuted
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_permutation_loses_nothing() {
        for key in [0, 1, u64::MAX] {
            let images: HashSet<_> = (0..1 << 14)
                .map(|value| permute_14_bits(key, value))
                .collect();
            assert_eq!(images.len(), 1 << 14);
            assert!(images.iter().all(|image| *image < 1 << 14));
        }
    }

    #[test]
    fn results_never_change_between_versions() {
        assert_eq!(mix(1), 0x910a_2dec_8902_5cc1);
        assert_eq!(hash(b"tor0"), 781_907_837_948_821_744);
        assert_eq!(
            [1, 2, 3].map(|value| permute_14_bits(7, value)),
            [5996, 14077, 13070]
        );
    }
}
