//! Several windows at once: short ones see hard faults at once, long ones see gray loss.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::diagnosis::localize;
use super::problem::Problem;
use super::search::{Settings, Suspect};

/// Observations of the last `window`.
#[derive(Debug, Clone, Copy)]
pub struct Scale<'a> {
    /// How long the window is.
    pub window: Duration,
    /// What was observed in it.
    pub problem: &'a Problem,
}

/// A suspect of one or more windows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sighting {
    /// The suspect as the window with the strongest evidence has it.
    #[serde(flatten)]
    pub suspect: Suspect,
    /// That window.
    pub window: Duration,
    /// All windows that name it, or something that it may stand for, shortest first.
    pub windows: Vec<Duration>,
}

/// Localises in each window (usually 5, 20 and 120 s that end now) and brings the answers together, most evidence first.
///
/// A fault that began a moment ago is named by the shortest window, gray loss by the longest alone. Suspects of different
/// windows that mean the same are one: the same component, one that the other lists as an alternative, or a link and its
/// own end. The one with the most evidence stands for them.
pub fn multi_scale(scales: &[Scale<'_>], settings: &Settings) -> Vec<Sighting> {
    let mut found: Vec<(Duration, Suspect)> = scales
        .iter()
        .flat_map(|scale| {
            let suspects = localize(scale.problem, settings).suspects;
            suspects.into_iter().map(|suspect| (scale.window, suspect))
        })
        .collect();
    found.sort_by(|(a_window, a), (b_window, b)| {
        b.evidence_nats
            .total_cmp(&a.evidence_nats)
            .then_with(|| a_window.cmp(b_window))
            .then_with(|| a.component.cmp(&b.component))
    });
    let mut sightings: Vec<Sighting> = Vec::new();
    for (window, suspect) in found {
        let known = sightings.iter_mut().find(|known| {
            // Within one window the search has already told them apart.
            !known.windows.contains(&window) && same_place(&known.suspect, &suspect)
                || known.suspect.component == suspect.component
        });
        match known {
            Some(known) => {
                if let Err(place) = known.windows.binary_search(&window) {
                    known.windows.insert(place, window);
                }
            }
            None => sightings.push(Sighting {
                suspect,
                window,
                windows: vec![window],
            }),
        }
    }
    sightings
}

fn same_place(a: &Suspect, b: &Suspect) -> bool {
    a.component == b.component
        || a.or.contains(&b.component)
        || b.or.contains(&a.component)
        || a.component.is_end_of(&b.component)
        || b.component.is_end_of(&a.component)
}
