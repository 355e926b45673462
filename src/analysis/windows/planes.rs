//! Which ToRs reach each other, where no topology file says it: by the probes that have come through since the analyzer started.
//!
//! Two ToRs are in one *plane* if a probe between them has come through, or if both are in one plane with a third ToR: a Clos fabric
//! connects each two of its ToRs. A plane is never divided again: what breaks later is a fault. Between two planes of at least two
//! ToRs each nothing has ever come through, although both ends reach other ToRs. Then no path connects them, and lost probes between
//! them say nothing. A ToR that reaches no other ToR is no plane: its uplinks may be dead.
//!
//! A fabric that is cut in two when the analyzer starts looks like two planes. Nothing tells them apart but a topology file, so this is
//! said among the differences ([`Planes::difference`]).

use std::collections::{BTreeMap, HashMap};

use crate::id::TorId;

/// ToRs beyond which no more are taken: agents may name anything.
const MOST_TORS: usize = 1 << 16;
/// Planes that are named in a text.
const MOST_NAMED: usize = 4;

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

    /// What people are told where there are several planes.
    pub fn difference(&self) -> Option<String> {
        if self.count < 2 {
            return None;
        }
        let parts: Vec<String> = self
            .tors()
            .iter()
            .take(MOST_NAMED)
            .filter_map(|tors| Some(format!("{} ToRs with `{}`", tors.len(), tors.first()?)))
            .collect();
        let further = if self.count > MOST_NAMED { ", …" } else { "" };
        Some(format!(
            "no probe between these parts of the fabric has come through since the analyzer started: {}{further}. They are planes, or \
             the fabric is cut. A topology file tells which",
            parts.join(", ")
        ))
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
