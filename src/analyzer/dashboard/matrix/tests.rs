use proptest::prelude::*;

use super::*;

#[test]
fn names_are_ordered_as_people_count() {
    let mut names = [
        "tor10", "tor2", "a", "tor2-b", "tor02", "tor", "", "tor2-a", "9", "10", "ä1",
    ];
    names.sort_by(|a, b| natural(a, b));
    insta::assert_snapshot!(names.join("|"), @"|9|10|a|tor|tor2|tor2-a|tor2-b|tor02|tor10|ä1");
}

proptest! {
    /// Sorting and searching need an order: total, and the same for equal names only.
    #[test]
    fn the_order_is_total(a in "[a0-9-]{0,6}", b in "[a0-9-]{0,6}", c in "[a0-9-]{0,6}") {
        prop_assert_eq!(natural(&a, &b), natural(&b, &a).reverse());
        prop_assert_eq!(natural(&a, &b).is_eq(), a == b);
        if natural(&a, &b).is_le() && natural(&b, &c).is_le() {
            prop_assert!(natural(&a, &c).is_le());
        }
    }
}
