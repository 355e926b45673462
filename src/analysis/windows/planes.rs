//! Which ToRs reach each other, by the probes that have come through, whenever that was.
//!
//! ToRs are in one *plane* if a chain of pairs, between which probes have come through, leads from one to the other. A path never
//! divides a plane again: what breaks later is a fault. Between two planes of at least two ToRs each nothing has ever come through,
//! though both ends reach others: no path connects them, and that their probes are lost says nothing. A ToR that reaches no other is
//! no plane: its uplinks may be dead.
//!
//! A Clos fabric connects each two of its ToRs, so a pair of ToRs that reaches the same third one is connected, and its losses count
//! even if nothing has ever come through between the two. What cannot be told apart from two planes is a fabric that was already cut in
//! two parts when the analyzer began to count.

use std::collections::{BTreeMap, HashMap};

use crate::id::TorId;

/// ToRs beyond which no more are taken: agents may name anything.
const MOST_TORS: usize = 1 << 16;

/// The planes of a fabric.
#[derive(Debug, Clone, Default)]
pub struct Planes {
    index: HashMap<TorId, usize>,
    /// By ToR: another ToR of the same plane, or itself (a forest; union by size).
    parent: Vec<usize>,
    /// By ToR, where it is the root: ToRs of its plane.
    size: Vec<usize>,
    /// How many planes have two ToRs and more.
    count: usize,
}

impl Planes {
    /// A probe between two ToRs has come through.
    pub(super) fn connect(&mut self, a: &TorId, b: &TorId) {
        if a == b {
            return;
        }
        let (Some(a), Some(b)) = (self.place(a), self.place(b)) else {
            return;
        };
        let (a, b) = (self.root(a), self.root(b));
        if a == b {
            return;
        }
        let (small, large) = if self.size[a] < self.size[b] {
            (a, b)
        } else {
            (b, a)
        };
        match (self.size[small], self.size[large]) {
            (1, 1) => self.count += 1,
            (1, _) => {}
            _ => self.count -= 1,
        }
        self.parent[small] = large;
        self.size[large] += self.size[small];
    }

    fn place(&mut self, tor: &TorId) -> Option<usize> {
        if let Some(place) = self.index.get(tor) {
            return Some(*place);
        }
        let place = self.parent.len();
        if place >= MOST_TORS {
            return None;
        }
        self.index.insert(tor.clone(), place);
        self.parent.push(place);
        self.size.push(1);
        Some(place)
    }

    fn root(&self, mut place: usize) -> usize {
        while self.parent[place] != place {
            place = self.parent[place];
        }
        place
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether no probe between two ToRs has come through.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether no path connects two ToRs: they are in different planes.
    pub fn are_apart(&self, a: &TorId, b: &TorId) -> bool {
        if self.count < 2 {
            return false;
        }
        let root = |tor| {
            let root = self.root(*self.index.get(tor)?);
            (self.size[root] >= 2).then_some(root)
        };
        matches!((root(a), root(b)), (Some(a), Some(b)) if a != b)
    }

    /// The ToRs of each plane, by name.
    pub fn tors(&self) -> Vec<Vec<&TorId>> {
        let mut planes: BTreeMap<usize, Vec<&TorId>> = BTreeMap::new();
        for (tor, place) in &self.index {
            planes.entry(self.root(*place)).or_default().push(tor);
        }
        let mut planes: Vec<_> = planes.into_values().filter(|tors| tors.len() > 1).collect();
        for tors in &mut planes {
            tors.sort_unstable_by_key(|tor| tor.as_str());
        }
        planes.sort_unstable_by_key(|tors| tors.first().map(|tor| tor.as_str()));
        planes
    }
}

#[cfg(test)]
mod tests;
