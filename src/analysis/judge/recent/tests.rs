use super::*;
use crate::time::WallTime;

fn recent(number: i64, now: u64, short: u64) -> Recent {
    let slot = Slot::of(WallTime::from_nanos(number * 5_000_000_000));
    Recent::new(slot, now, short)
}

#[test]
fn the_same_losses_are_no_news_while_windows_slide_over_them() {
    let first = recent(100, 4, 4);
    assert!(!recent(100, 4, 4).is_news_to(first));
    assert!(!recent(101, 0, 4).is_news_to(first));
    assert!(!recent(102, 0, 0).is_news_to(first));
    assert!(!recent(100, 0, 0).is_news_to(first), "set aside since");
}

#[test]
fn others_are() {
    let first = recent(100, 4, 9);
    assert!(recent(100, 5, 10).is_news_to(first));
    assert!(recent(100, 4, 10).is_news_to(first), "one came late");
    assert!(recent(101, 1, 5).is_news_to(first));
    assert!(recent(103, 1, 1).is_news_to(first));
}
