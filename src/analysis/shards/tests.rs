use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn member(id: i64) -> MemberId {
    MemberId(id)
}

fn apply(table: &mut Table, moves: &[Move]) {
    for change in moves {
        table.set(
            change.shard,
            Owned {
                owner: Some(change.to),
                epoch: change.epoch,
            },
        );
    }
}

#[test]
fn hosts_of_the_same_tors_are_in_one_shard_and_fabrics_spread() {
    let tors = |names: &[&str]| {
        names
            .iter()
            .map(|name| TorId::new(*name))
            .collect::<Vec<_>>()
    };
    let both = ShardId::of_tors(&tors(&["rail1-pod3", "rail0-pod3"]));
    assert_eq!(both, ShardId::of_tors(&tors(&["rail0-pod3", "rail1-pod3"])));
    assert_eq!(both, ShardId::of_tors(&tors(&["rail0-pod3"])));
    // The numbers are the same in all versions.
    assert_eq!(ShardId::of_tors(&tors(&["tor0"])).number(), 24);
    let mut counts: BTreeMap<ShardId, u32> = BTreeMap::new();
    for number in 0..2_000 {
        let shard = ShardId::of_tors(&tors(&[&format!("tor{number}")]));
        *counts.entry(shard).or_default() += 1;
    }
    assert_eq!(counts.len(), usize::from(SHARDS));
    let most = counts.values().max().copied().unwrap_or_default();
    // 31 on average.
    assert!(most <= 55, "{most}");
}

#[test]
fn nobody_owns_anything_where_nobody_lives() {
    assert_eq!(moves(&Table::default(), &BTreeSet::new()), []);
    assert_eq!(ShardId::new(SHARDS), None);
}

proptest! {
    #[test]
    fn moves_are_few_fair_and_final(rounds in prop::collection::vec(prop::collection::btree_set(1_i64..9, 0..7), 1..12)) {
        let mut table = Table::default();
        for live in rounds {
            let live: BTreeSet<_> = live.into_iter().map(MemberId).collect();
            let before = table.clone();
            let changes = moves(&table, &live);
            apply(&mut table, &changes);
            if live.is_empty() {
                prop_assert!(changes.is_empty());
                continue;
            }
            let counts: Vec<_> = live.iter().map(|one| table.of(*one).count()).collect();
            let (least, most) = (counts.iter().min(), counts.iter().max());
            prop_assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1), "{:?}", counts);
            prop_assert_eq!(counts.iter().sum::<usize>(), usize::from(SHARDS));
            // Each shard moves once at most, and its epoch grows by one.
            let moved: BTreeSet<_> = changes.iter().map(|change| change.shard).collect();
            prop_assert_eq!(moved.len(), changes.len());
            for (shard, owned) in table.iter() {
                let former = before.get(shard);
                let step = i64::from(moved.contains(&shard));
                prop_assert_eq!(owned.epoch, former.epoch + step);
                prop_assert_eq!(owned.owner != former.owner, step == 1);
            }
            // As few as can be: those without an owner, and what is above the fair share of those who stay.
            let share = usize::from(SHARDS) / live.len();
            let homeless = before.iter().filter(|(_, owned)| !owned.owner.is_some_and(|owner| live.contains(&owner))).count();
            let surplus: usize = live.iter().map(|one| before.of(*one).count().saturating_sub(share)).sum();
            prop_assert!(changes.len() <= homeless + surplus);
            prop_assert_eq!(moves(&table, &live), []);
        }
    }
}

#[test]
fn evidence_of_an_earlier_owner_is_refused_in_whatever_order_tables_come() {
    let shard = ShardId::new(7).expect("there");
    let owned = |owner, epoch| {
        let mut table = Table::default();
        table.set(
            shard,
            Owned {
                owner: Some(member(owner)),
                epoch,
            },
        );
        table
    };
    let mut fence = Fence::default();
    assert!(fence.admit(shard, member(1), 0).is_err(), "nobody's");
    fence.follow(&owned(1, 1));
    assert_eq!(fence.admit(shard, member(1), 1), Ok(()));
    assert!(fence.admit(shard, member(2), 1).is_err());
    fence.follow(&owned(2, 2));
    fence.follow(&owned(1, 1));
    let stale = fence.admit(shard, member(1), 1).expect_err("stale");
    assert_eq!(
        stale.to_string(),
        "shard 7 belongs to another analyzer since epoch 2; this is of epoch 1"
    );
    assert_eq!(fence.admit(shard, member(2), 2), Ok(()));
    assert!(fence.admit(shard, member(1), 2).is_err());
}
