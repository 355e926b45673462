//! What became of the batches of one agent, as the simulation knows it: it sees every result, and it does the damage itself.
//!
//! A batch is known by the end of its interval, which no other batch of the agent has, under whatever identity of the spool it
//! is sent.

use std::collections::{BTreeMap, BTreeSet};

use rpingmesh::measure::Outcome;

/// Numbers of probes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Probes {
    pub(super) sent: u64,
    pub(super) complete: u64,
}

impl Probes {
    pub(super) fn add(&mut self, outcome: &Outcome) {
        self.sent += 1;
        self.complete += u64::from(matches!(outcome, Outcome::Complete(_)));
    }

    pub(super) fn sum(&mut self, other: Self) {
        self.sent += other.sent;
        self.complete += other.complete;
    }
}

#[derive(Debug, Clone, Copy)]
struct Made {
    probes: Probes,
    /// The file or the memory that it was in was destroyed, or its copy at the analyzer was: it may be gone.
    destroyed: bool,
}

/// The batches of one agent.
#[derive(Debug, Default)]
pub(super) struct Account {
    made: BTreeMap<i64, Made>,
    /// Results that are in no batch yet.
    open: Probes,
    /// Results that were in no batch when their agent was killed.
    pub(super) died: Probes,
    /// What its runs said, all together, that they have lost: batches dropped and damaged.
    pub(super) said: u64,
    /// Batches that end later than this are in memory, because the disk takes nothing.
    pub(super) on_disk_until: Option<i64>,
    /// The newest batch of the copy of its spool.
    pub(super) copied_until: Option<i64>,
}

/// What became of them all.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Fates {
    /// Probes in batches.
    pub(super) made: Probes,
    /// Probes of the batches that the analyzer has.
    pub(super) stored: Probes,
    /// Batches that were destroyed and are gone.
    pub(super) destroyed: u64,
    /// Batches that are gone, which the agent has said.
    pub(super) reported: u64,
}

impl Account {
    pub(super) fn take(&mut self, outcome: &Outcome) {
        self.open.add(outcome);
    }

    /// A batch was made of what came since the last one.
    pub(super) fn batch(&mut self, end: i64) {
        let probes = std::mem::take(&mut self.open);
        let made = Made {
            probes,
            destroyed: false,
        };
        assert!(self.made.insert(end, made).is_none(), "two batches at once");
    }

    pub(super) fn newest(&self) -> i64 {
        self.made.keys().next_back().copied().unwrap_or(0)
    }

    /// The agent was killed, having said that it had lost so many batches.
    pub(super) fn killed(&mut self, said: u64) {
        self.died.sum(std::mem::take(&mut self.open));
        self.said += said;
        if let Some(until) = self.on_disk_until {
            self.destroy_after(until);
        }
    }

    /// Batches that end later were destroyed.
    pub(super) fn destroy_after(&mut self, end: i64) {
        for (_, made) in self.made.range_mut(end + 1..) {
            made.destroyed = true;
        }
    }

    /// These batches were destroyed.
    pub(super) fn destroy(&mut self, ends: impl IntoIterator<Item = i64>) {
        for end in ends {
            if let Some(made) = self.made.get_mut(&end) {
                made.destroyed = true;
            }
        }
    }

    /// Compares with what the analyzer has.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(super) fn settle(&self, stored: &BTreeMap<i64, Probes>) -> Result<Fates, String> {
        let mut fates = Fates::default();
        let mut missing = BTreeSet::new();
        for (end, made) in &self.made {
            fates.made.sum(made.probes);
            match stored.get(end) {
                Some(probes) if *probes == made.probes => fates.stored.sum(*probes),
                Some(probes) => {
                    return Err(format!("{probes:?} stored of {:?} made", made.probes));
                }
                // Nothing is stored of a batch without results.
                None if made.probes.sent == 0 => {}
                None if made.destroyed => fates.destroyed += 1,
                None => {
                    missing.insert(*end / 1_000_000 % 1_000_000);
                }
            }
        }
        if let Some(invented) = stored.keys().find(|end| !self.made.contains_key(end)) {
            return Err(format!("a batch is stored that nobody made: {invented}"));
        }
        fates.reported = missing.len() as u64;
        if fates.reported > self.said {
            return Err(format!(
                "{} batches are gone, {} were said to be lost; they end at (ms) {missing:?}",
                fates.reported, self.said
            ));
        }
        Ok(fates)
    }
}
