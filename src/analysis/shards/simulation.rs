//! Analyzers on one database, of which some stand still, lose their network, die and wake up, from seeds. The database is modelled as
//! PostgreSQL is used: each transaction checks the lease's epoch, and clocks are the server's. What analyzers know is old.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::*;

/// A lease, or a place among the analyzers, ends after so many ticks.
const SILENCE: u64 = 12;
const TICKS: u64 = 400;
const SEEDS: u64 = 2_000;

#[derive(Default)]
struct Database {
    lease: (i64, Option<MemberId>, u64),
    renewed: BTreeMap<MemberId, u64>,
    table: Table,
}

struct Analyzer {
    id: MemberId,
    /// Does nothing before this tick.
    asleep_until: u64,
    /// Reaches neither the database nor others before this tick.
    cut_off_until: u64,
    is_gone: bool,
    /// What it knows of the database.
    known: Table,
    /// Of the lease, if it believes that it holds it.
    epoch: Option<i64>,
    fence: Fence,
    /// Evidence that it has accepted as judge: of which epoch of the lease, of which shard and epoch, from whom.
    accepted: Vec<(i64, ShardId, i64, MemberId)>,
}

impl Analyzer {
    fn new(id: i64) -> Self {
        Self {
            id: MemberId(id),
            asleep_until: 0,
            cut_off_until: 0,
            is_gone: false,
            known: Table::default(),
            epoch: None,
            fence: Fence::default(),
            accepted: Vec::new(),
        }
    }

    /// Renews, reads, and does what the holder of the lease must. Gives up where others have gone on without it.
    fn visit(&mut self, database: &mut Database, now: u64) {
        let is_here = database.renewed.contains_key(&self.id);
        let holds = self.epoch.is_none_or(|epoch| database.lease.0 == epoch);
        if !is_here || !holds {
            self.is_gone = true;
            return;
        }
        database.renewed.insert(self.id, now);
        if self.epoch.is_some() {
            database.lease.2 = now;
        } else if database.lease.1.is_none() || now - database.lease.2 > SILENCE {
            database.lease = (database.lease.0 + 1, Some(self.id), now);
            self.epoch = Some(database.lease.0);
        }
        if self.epoch.is_some() {
            // One transaction that checks the epoch of the lease.
            database.renewed.retain(|_, seen| now - *seen <= SILENCE);
            let live: BTreeSet<_> = database.renewed.keys().copied().collect();
            for change in moves(&database.table, &live) {
                let owned = Owned {
                    owner: Some(change.to),
                    epoch: change.epoch,
                };
                database.table.set(change.shard, owned);
            }
            self.fence.follow(&database.table);
        }
        self.known = database.table.clone();
    }
}

struct World {
    random: StdRng,
    database: Database,
    analyzers: Vec<Analyzer>,
    next: i64,
    /// Evidence that is under way: from whom, to whom, of which shard and epoch, and when it arrives.
    under_way: Vec<(MemberId, MemberId, ShardId, i64, u64)>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            random: StdRng::seed_from_u64(seed),
            database: Database::default(),
            analyzers: Vec::new(),
            next: 1,
            under_way: Vec::new(),
        };
        for _ in 0..world.random.random_range(2..5) {
            world.join(0);
        }
        world
    }

    fn join(&mut self, now: u64) {
        let analyzer = Analyzer::new(self.next);
        self.next += 1;
        self.database.renewed.insert(analyzer.id, now);
        self.analyzers.push(analyzer);
    }

    fn disturb(&mut self, now: u64) {
        let living = self.analyzers.iter_mut().filter(|one| !one.is_gone);
        for one in living {
            match self.random.random_range(0..600) {
                0 => one.asleep_until = now + self.random.random_range(1..60),
                1 => one.cut_off_until = now + self.random.random_range(1..60),
                2 => one.is_gone = true,
                _ => {}
            }
        }
        let living = self.analyzers.iter().filter(|one| !one.is_gone).count();
        if living < 2 || self.random.random_ratio(1, 150) {
            self.join(now);
        }
    }

    fn step(&mut self, now: u64) {
        self.disturb(now);
        let leases: Vec<_> = self
            .analyzers
            .iter()
            .filter(|one| one.epoch.is_some())
            .map(|one| one.id)
            .collect();
        for one in &mut self.analyzers {
            if one.is_gone || now < one.asleep_until {
                continue;
            }
            if now >= one.cut_off_until && self.random.random_ratio(1, 2) {
                one.visit(&mut self.database, now);
            }
            // Evidence to any analyzer that ever was the judge: the owner may not know the newest.
            let (Some(shard), false) = (
                one.known.of(one.id).nth(self.random.random_range(0..8)),
                leases.is_empty(),
            ) else {
                continue;
            };
            let to = leases[self.random.random_range(0..leases.len())];
            let arrives = now + self.random.random_range(0..30);
            let epoch = one.known.get(shard).epoch;
            self.under_way.push((one.id, to, shard, epoch, arrives));
        }
        self.deliver(now);
    }

    fn deliver(&mut self, now: u64) {
        let (due, later) = self
            .under_way
            .drain(..)
            .partition(|(.., arrives)| *arrives <= now);
        self.under_way = later;
        for (from, to, shard, epoch, arrives) in due {
            let Some(judge) = self.analyzers.iter_mut().find(|one| one.id == to) else {
                continue;
            };
            if judge.is_gone {
                continue;
            }
            if now < judge.asleep_until {
                self.under_way.push((from, to, shard, epoch, arrives));
                continue;
            }
            if let Some(lease) = judge.epoch
                && judge.fence.admit(shard, from, epoch).is_ok()
            {
                judge.accepted.push((lease, shard, epoch, from));
            }
        }
    }
}

#[test]
fn no_two_owners_are_believed_for_one_epoch_over_two_thousand_seeds() {
    let (mut accepted, mut refused_once, mut judges) = (0_usize, 0_usize, 0_usize);
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        for now in 0..TICKS {
            world.step(now);
        }
        let mut owners: BTreeMap<(ShardId, i64), MemberId> = BTreeMap::new();
        let mut leases: BTreeMap<i64, MemberId> = BTreeMap::new();
        for judge in &world.analyzers {
            let mut newest: BTreeMap<ShardId, i64> = BTreeMap::new();
            for &(lease, shard, epoch, from) in &judge.accepted {
                let owner = *owners.entry((shard, epoch)).or_insert(from);
                assert_eq!(owner, from, "seed {seed}: shard {shard}, epoch {epoch}");
                let holder = *leases.entry(lease).or_insert(judge.id);
                assert_eq!(holder, judge.id, "seed {seed}: lease {lease}");
                let last = newest.insert(shard, epoch).unwrap_or_default();
                assert!(
                    last <= epoch,
                    "seed {seed}: shard {shard} went back to {epoch}"
                );
                refused_once += usize::from(last != 0 && last < epoch);
            }
            accepted += judge.accepted.len();
        }
        judges += leases.len();
    }
    // The seeds do what they are there for: evidence is taken, shards change hands, judges follow each other.
    assert!(accepted > 100_000, "{accepted}");
    assert!(refused_once > 1_000, "{refused_once}");
    assert!(judges > 2 * 2_000, "{judges}");
}
