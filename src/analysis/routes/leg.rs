//! What lies between two ToRs, one way.

use std::collections::BTreeMap;

use crate::analysis::localize::{Component, DOUBT};

/// What the fabric between the ToRs is called while nothing is known of it.
pub(crate) const CLOUD: &str = "fabric";

/// Paths between two ToRs, each with how many 5-tuples take it.
pub(super) type Shown = BTreeMap<Vec<String>, u32>;

/// Where a leg's components come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    /// A trace of this 5-tuple.
    Traced,
    /// All paths that ECMP may choose.
    Candidates,
    /// Nothing is known.
    Cloud,
}

impl Origin {
    pub(in crate::analysis) const ALL: [Self; 3] = [Self::Traced, Self::Candidates, Self::Cloud];
}

/// What lies between two ToRs, one way, both ToRs' ports included.
#[derive(Debug, Clone, PartialEq)]
pub struct Leg {
    /// Links, and the switches between the two ToRs, each with the share of the 5-tuples that cross it.
    pub shares: Vec<(Component, f64)>,
    /// How many links a packet crosses.
    pub links: f64,
    /// Where this is known from.
    pub origin: Origin,
    /// Probability, 0 to 1, that the 5-tuple takes another path than the one that was traced; 0 where none was.
    pub doubt: f64,
    /// The doubt, in multiples of that of a new trace.
    pub(super) steps: u32,
    /// The switches from ToR to ToR, where they are known.
    pub path: Option<Vec<String>>,
}

impl Leg {
    /// `steps` times as doubtful as a new trace.
    pub(super) fn traced(path: Vec<String>, steps: u32) -> Self {
        let mut shares = Vec::new();
        add_path(&mut shares, &path, 1.0);
        Self {
            shares,
            links: path.len() as f64 - 1.0,
            origin: Origin::Traced,
            doubt: DOUBT * f64::from(steps),
            steps,
            path: Some(path),
        }
    }

    pub(super) fn of_shown(shown: &Shown) -> Option<Self> {
        if shown.is_empty() {
            return None;
        }
        // Every path that was seen is one of the choices; how often says little about how the others hash.
        let weight = 1.0 / shown.len() as f64;
        let mut shares = Vec::new();
        for path in shown.keys() {
            add_path(&mut shares, path, weight);
        }
        Some(Self {
            shares,
            links: shown
                .keys()
                .map(|path| path.len() as f64 - 1.0)
                .sum::<f64>()
                * weight,
            origin: Origin::Candidates,
            doubt: 0.0,
            steps: 0,
            path: None,
        })
    }

    pub(super) fn cloud(from: &str, to: &str) -> Self {
        Self {
            shares: vec![(link(from, CLOUD), 1.0), (link(CLOUD, to), 1.0)],
            links: 2.0,
            origin: Origin::Cloud,
            doubt: 0.0,
            steps: 0,
            path: None,
        }
    }
}

pub(super) fn link(from: &str, to: &str) -> Component {
    Component::Link {
        from: from.to_owned(),
        to: to.to_owned(),
    }
}

pub(super) fn add(shares: &mut Vec<(Component, f64)>, component: Component, share: f64) {
    match shares.iter_mut().find(|(known, _)| *known == component) {
        Some((_, sum)) => *sum += share,
        None => shares.push((component, share)),
    }
}

fn add_path(shares: &mut Vec<(Component, f64)>, path: &[String], weight: f64) {
    for pair in path.windows(2) {
        add(shares, link(&pair[0], &pair[1]), weight);
    }
    let inner = path
        .get(1..path.len().saturating_sub(1))
        .unwrap_or_default();
    for switch in inner {
        let name = switch.clone();
        add(shares, Component::Switch { name }, weight);
    }
}
