//! How well a rate is known.

/// Normal quantile of a two-sided 95 % interval.
const Z: f64 = 1.96;

/// The Wilson score interval, 95 %, of a rate of which `failures` in `trials` were seen: low and high, 0 to 1.
///
/// It stays within 0 and 1 and holds for few failures, where `p ± 1.96·σ` does not (Wilson, 1927; Brown, Cai and DasGupta,
/// 2001). Counts may be fractions: where the path is not known a probe counts with the share of its candidates.
pub(crate) fn wilson(failures: f64, trials: f64) -> [f64; 2] {
    if trials <= 0.0 {
        return [0.0, 1.0];
    }
    let rate = (failures / trials).clamp(0.0, 1.0);
    let z2 = Z * Z / trials;
    let middle = rate + z2 / 2.0;
    let half = Z * (rate * (1.0 - rate) / trials + z2 / (4.0 * trials)).sqrt();
    let bound = |value: f64| (value / (1.0 + z2)).clamp(0.0, 1.0);
    [bound(middle - half), bound(middle + half)]
}

#[cfg(test)]
mod tests {
    use super::wilson;

    fn close(interval: [f64; 2], low: f64, high: f64) {
        assert!((interval[0] - low).abs() < 1e-3, "{interval:?}");
        assert!((interval[1] - high).abs() < 1e-3, "{interval:?}");
    }

    #[test]
    fn agrees_with_published_values() {
        // Newcombe (1998), table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
        close(wilson(81.0, 263.0), 0.2553, 0.3662);
        close(wilson(15.0, 148.0), 0.0624, 0.1605);
        close(wilson(0.0, 20.0), 0.0, 0.1611);
        close(wilson(1.0, 29.0), 0.0061, 0.1718);
    }

    #[test]
    fn nothing_tried_says_nothing() {
        let [low, high] = wilson(0.0, 0.0);
        assert!(low.abs() < 1e-12 && (high - 1.0).abs() < 1e-12);
    }
}
