//! How many 5-tuples cover all ECMP paths: Eq. (1) of the R-Pingmesh paper.
//!
//! Hashing `k` tuples uniformly onto `N` parallel paths leaves some path untouched with the probability
//! Σ_{i=1..N} (−1)^{i+1} C(N,i) (1 − i/N)^k. Eq. (1) asks for the smallest `k ≥ N` that makes it at most 1 − P. The sum
//! alternates and cancels catastrophically for large `N`; the same probability comes here from the distribution of the
//! number of paths touched after each tuple, in which all terms are positive.

/// The largest number of parallel paths that is computed with.
pub(crate) const MAX_PATHS: u32 = 512;

/// The number of paths touched after each tuple, as a distribution.
struct Occupancy {
    /// Entry `j`: probability that exactly `j` paths are touched.
    touched: Vec<f64>,
    /// Tuples so far.
    tuples: u32,
}

impl Occupancy {
    fn new(paths: u32) -> Self {
        let mut touched = vec![0.0; paths as usize + 1];
        touched[0] = 1.0;
        Self { touched, tuples: 0 }
    }

    fn add_tuple(&mut self) {
        let paths = self.touched.len() - 1;
        let count = paths as f64;
        let reached = paths.min(self.tuples as usize + 1);
        for j in (1..=reached).rev() {
            let again = self.touched[j] * (j as f64 / count);
            let another = self.touched[j - 1] * ((paths - j + 1) as f64 / count);
            self.touched[j] = again + another;
        }
        self.touched[0] = 0.0;
        self.tuples += 1;
    }

    /// Probability that some path is untouched. Summed from small to large, so it is exact where it is tiny.
    fn missing(&self) -> f64 {
        let (_, some_missing) = self.touched.split_last().unwrap_or((&0.0, &[]));
        some_missing.iter().sum()
    }
}

/// The smallest number of tuples that touch all `paths` with probability `coverage`, by Eq. (1).
///
/// `paths` is taken as at least 1 and at most [`MAX_PATHS`], `coverage` as at most 1 − 10⁻¹².
pub(crate) fn tuples_for(paths: u32, coverage: f64) -> u32 {
    let paths = paths.clamp(1, MAX_PATHS);
    let allowed = (1.0 - coverage).max(1e-12);
    let mut occupancy = Occupancy::new(paths);
    loop {
        occupancy.add_tuple();
        if occupancy.tuples >= paths && occupancy.missing() <= allowed {
            return occupancy.tuples;
        }
    }
}

/// The probability that `tuples` touch all `paths` (at least 1, at most [`MAX_PATHS`]).
pub(crate) fn coverage_of(paths: u32, tuples: u32) -> f64 {
    let paths = paths.clamp(1, MAX_PATHS);
    if tuples < paths {
        return 0.0;
    }
    let mut occupancy = Occupancy::new(paths);
    for _ in 0..tuples {
        occupancy.add_tuple();
    }
    (1.0 - occupancy.missing()).max(0.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_values_of_equation_1() {
        let row = |coverage| [2, 4, 8, 16, 32, 64].map(|paths| tuples_for(paths, coverage));
        assert_eq!(row(0.99), [8, 21, 51, 115, 255, 557]);
        assert_eq!(row(0.9), [5, 13, 33, 79, 181, 408]);
        assert_eq!(tuples_for(1, 0.99), 1);
    }

    #[test]
    fn a_cap_of_64_tuples_covers_16_paths_badly() {
        assert!((coverage_of(16, 64) - 0.765).abs() < 0.001);
    }

    #[test]
    fn stays_stable_where_the_alternating_sum_does_not() {
        let tuples = tuples_for(MAX_PATHS, 0.99);
        assert!(coverage_of(MAX_PATHS, tuples) >= 0.99);
        assert!(coverage_of(MAX_PATHS, tuples - 1) < 0.99);
        // Expectation of the coupon collector plus the tail: N (ln N + c) with exp(-exp(-c)) = P.
        let estimate = 512.0 * (512.0_f64.ln() - (-(0.99_f64.ln())).ln());
        assert!(
            (f64::from(tuples) - estimate).abs() < 0.01 * estimate,
            "{tuples} {estimate}"
        );
    }

    fn alternating_sum(paths: u32, tuples: u32) -> f64 {
        let n = f64::from(paths);
        let mut choose = 1.0;
        let mut sum = 0.0;
        for i in 1..=paths {
            choose *= f64::from(paths - i + 1) / f64::from(i);
            let term = choose * (1.0 - f64::from(i) / n).powf(f64::from(tuples));
            sum += if i % 2 == 1 { term } else { -term };
        }
        sum
    }

    proptest! {
        #[test]
        fn agrees_with_the_formula_where_it_is_computable(paths in 1_u32..=16, extra in 0_u32..200) {
            let tuples = paths + extra;
            let missing = 1.0 - coverage_of(paths, tuples);
            prop_assert!((missing - alternating_sum(paths, tuples)).abs() < 1e-9);
        }

        #[test]
        fn is_the_smallest_number(paths in 2_u32..=64, coverage in 0.5_f64..0.9999) {
            let tuples = tuples_for(paths, coverage);
            prop_assert!(tuples >= paths);
            prop_assert!(coverage_of(paths, tuples) >= coverage);
            prop_assert!(tuples == paths || coverage_of(paths, tuples - 1) < coverage);
        }
    }
}
