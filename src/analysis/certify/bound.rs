//! How much a link may lose at most, by the probes that crossed it.

/// Confidence of all bounds, each alone.
pub const CONFIDENCE: f64 = 0.95;
/// From so many losses on the bound is that of the normal approximation: the exact one would sum as many terms.
const MANY: u64 = 1_000;
/// Normal quantile of a one-sided bound of [`CONFIDENCE`].
const Z: f64 = 1.644_853_626_951;

/// The upper bound, at [`CONFIDENCE`], of a probability of which `lost` in `sent` trials were seen: the exact one of Clopper and
/// Pearson (Biometrika 26, 1934). Without losses it is `1 − 0.05^(1/n)`, close to `3/n`: the rule of three (Hanley and
/// Lippman-Hand, JAMA 249, 1983). 1 where nothing was sent.
pub fn upper_bound(sent: u64, lost: u64) -> f64 {
    if sent == 0 || lost >= sent {
        return 1.0;
    }
    let trials = sent as f64;
    if lost == 0 {
        return -((1.0 - CONFIDENCE).ln() / trials).exp_m1();
    }
    if lost > MANY {
        return normal(trials, lost as f64);
    }
    let (mut low, mut high) = (lost as f64 / trials, 1.0);
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if ln_at_most(sent, lost, middle) > (1.0 - CONFIDENCE).ln() {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// Wilson's score bound.
fn normal(trials: f64, lost: f64) -> f64 {
    let rate = lost / trials;
    let z2 = Z * Z / trials;
    let half = Z * (rate * (1.0 - rate) / trials + z2 / (4.0 * trials)).sqrt();
    ((rate + z2 / 2.0 + half) / (1.0 + z2)).min(1.0)
}

/// ln of the probability of at most `lost` failures in `sent` trials of probability `rate`, which is between 0 and 1.
fn ln_at_most(sent: u64, lost: u64, rate: f64) -> f64 {
    let odds = rate.ln() - (-rate).ln_1p();
    let mut term = sent as f64 * (-rate).ln_1p();
    let mut sum = term;
    for failures in 0..lost {
        term += ((sent - failures) as f64 / (failures + 1) as f64).ln() + odds;
        let (large, small) = if sum > term { (sum, term) } else { (term, sum) };
        sum = large + (small - large).exp().ln_1p();
    }
    sum
}

/// How many probes it takes to bring the bound to `loss` (between 0 and 1), if no more than `lost` of them are lost.
pub fn needed(loss: f64, lost: u64) -> u64 {
    if !(loss > 0.0 && loss < 1.0) {
        return if loss >= 1.0 { 1 } else { u64::MAX };
    }
    let reaches = |sent: u64| upper_bound(sent, lost) <= loss;
    let mut high = lost.max(1);
    while !reaches(high) {
        let Some(next) = high.checked_mul(2) else {
            return u64::MAX;
        };
        high = next;
    }
    let mut low = high / 2;
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if reaches(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}
