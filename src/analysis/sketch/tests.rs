use proptest::prelude::*;

use super::*;

fn sketch(values: &[i64]) -> Sketch {
    let mut sketch = Sketch::default();
    for value in values {
        sketch.add(Nanos(*value));
    }
    sketch
}

#[test]
fn small_spans_are_exact_and_the_largest_fits() {
    for value in 0..128 {
        assert_eq!(Bin::of(Nanos(value)).middle(), Nanos(value));
    }
    let largest = Bin::of(Nanos(i64::MAX));
    assert!(largest.number() < 1 << Bin::BITS);
    assert!(largest.middle().0 > i64::MAX / 128 * 127);
    assert_eq!(Bin::of(Nanos(-5)), Bin::of(Nanos(0)));
}

#[test]
fn an_empty_sketch_has_no_quantiles() {
    assert_eq!(Sketch::default().quantile(0.5), None);
    assert_eq!(Sketch::default().min(), None);
}

#[test]
fn any_number_is_a_bin_with_a_middle() {
    for number in 0..=u16::MAX {
        assert!(Bin::from_number(number).middle().0 >= 0);
    }
}

proptest! {
    #[test]
    fn bins_are_ordered_and_within_the_relative_error(a in 0..i64::MAX, b in 0..i64::MAX) {
        let (low, high) = (a.min(b), a.max(b));
        prop_assert!(Bin::of(Nanos(low)) <= Bin::of(Nanos(high)));
        let middle = Bin::of(Nanos(a)).middle().0;
        prop_assert!((middle as f64 - a as f64).abs() <= a as f64 / 128.0 + 1.0);
    }

    #[test]
    fn quantiles_are_within_the_relative_error(
        mut values in prop::collection::vec(0i64..10_000_000_000, 1..200),
        q in 0.0f64..=1.0,
    ) {
        let found = sketch(&values).quantile(q).unwrap().0 as f64;
        values.sort_unstable();
        let rank = (1..=values.len()).find(|rank| *rank as f64 >= q * values.len() as f64).unwrap_or(values.len());
        let exact = values[rank - 1] as f64;
        prop_assert!((found - exact).abs() <= exact / 128.0 + 1.0, "{found} for {exact}");
    }

    #[test]
    fn merging_is_counting_together(
        a in prop::collection::vec(0i64..1_000_000, 0..60),
        b in prop::collection::vec(0i64..1_000_000, 0..60),
    ) {
        let mut merged = sketch(&a);
        merged.merge(&sketch(&b));
        let mut reverse = sketch(&b);
        reverse.merge(&sketch(&a));
        let together = sketch(&[a, b].concat());
        prop_assert_eq!(&merged, &together);
        prop_assert_eq!(&reverse, &together);
    }
}
