use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::id::AgentId;

const NOW: WallTime = WallTime::from_nanos(1);

fn mark() -> Watermark {
    let sender = Sender {
        agent: AgentId::new("a"),
        spool: SpoolId(7),
    };
    Watermark::new(sender, HostName::new("h"), NOW)
}

#[test]
fn gaps_are_taken_and_counted_but_never_backwards() {
    let mut mark = mark();
    assert_eq!(mark.admit(50, NOW), Admission::New { skipped: 0 });
    assert_eq!(mark.admit(51, NOW), Admission::New { skipped: 0 });
    assert_eq!(mark.admit(55, NOW), Admission::New { skipped: 3 });
    assert_eq!(mark.admit(53, NOW), Admission::Duplicate);
    assert_eq!(mark.admit(55, NOW), Admission::Duplicate);
    assert_eq!((mark.sequence, mark.taken, mark.lost), (55, 3, 3));
}

#[test]
fn a_number_that_no_spool_can_have_reached_is_refused_and_moves_nothing() {
    let mut mark = mark();
    let beyond = |mark: &mut Watermark, sequence| match mark.admit(sequence, NOW) {
        Admission::TooFar { limit } => limit,
        other => panic!("{sequence}: {other:?}"),
    };
    // 2^63 - 1, once acknowledged, made duplicates of all that the spool sent afterwards.
    for wild in [LARGEST_FIRST + 1, (1 << 63) - 1, u64::MAX] {
        assert_eq!(beyond(&mut mark, wild), LARGEST_FIRST);
    }
    assert_eq!((mark.sequence, mark.taken), (0, 0));
    assert_eq!(mark.admit(7, NOW), Admission::New { skipped: 0 });
    for wild in [8 + MOST_SKIPPED, (1 << 63) - 1, u64::MAX] {
        assert_eq!(beyond(&mut mark, wild), 7 + MOST_SKIPPED);
    }
    assert_eq!(mark.admit(8, NOW), Admission::New { skipped: 0 });
    let skipped = MOST_SKIPPED - 1;
    assert_eq!(
        mark.admit(8 + MOST_SKIPPED, NOW),
        Admission::New { skipped }
    );
    assert_eq!((mark.taken, mark.lost), (3, skipped));
}

proptest! {
    /// Any resends of a spool that sends in order: each number is taken at most once, and taken and lost add up.
    #[test]
    fn every_number_is_taken_at_most_once(starts in prop::collection::vec((1u64..60, 0u64..20), 1..30)) {
        let mut mark = mark();
        let mut taken = BTreeSet::new();
        for (start, length) in starts {
            for sequence in start..start + length {
                if let Admission::New { .. } = mark.admit(sequence, NOW) {
                    prop_assert!(taken.insert(sequence));
                }
            }
        }
        prop_assert_eq!(mark.taken, taken.len() as u64);
        if let Some(first) = taken.first() {
            prop_assert_eq!(mark.taken + mark.lost, mark.sequence - first + 1);
        }
    }
}
