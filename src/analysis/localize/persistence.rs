//! From suspects of single windows to something to wake a person for.
//!
//! On a healthy fabric about one window in a hundred has a suspect, by chance. Chance does not strike the same component
//! twice in a row: a suspect counts when it is seen again within a few windows, or when its evidence in one is beyond what
//! chance gives.

/// When a suspect is confirmed, and when it is over. The same for all fabrics and windows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Persistence {
    /// Evidence that confirms a suspect in one window, in nats ([`Suspect::evidence_nats`](super::Suspect)).
    pub at_once_nats: f64,
    /// Windows that are looked back on, without overlap among them.
    pub windows: usize,
    /// Of these, how many have to name the component.
    pub needed: usize,
    /// Windows in a row without a sighting after which a confirmed suspect is over.
    pub clear_after: usize,
}

impl Default for Persistence {
    fn default() -> Self {
        Self {
            at_once_nats: 9.0,
            windows: 3,
            needed: 2,
            clear_after: 3,
        }
    }
}

/// What is to be made of a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing.
    Clear,
    /// It was seen, not yet often enough.
    Watched,
    /// It is a fault: an incident is open.
    Confirmed,
}

impl Persistence {
    /// The standing of one component after its newest window.
    ///
    /// `history` has for each window, oldest first, the suspect's evidence in nats, or nothing where it was not named;
    /// `open` says whether it was [`Standing::Confirmed`] before the newest. Windows must not overlap, or one draw of bad
    /// luck counts twice: for 20 s windows that are read every 5 s, hand in every fourth.
    pub fn standing(&self, history: &[Option<f64>], open: bool) -> Standing {
        let last = |count: usize| &history[history.len().saturating_sub(count)..];
        if open {
            let silent = history.len() >= self.clear_after
                && last(self.clear_after).iter().all(Option::is_none);
            return if silent {
                Standing::Clear
            } else {
                Standing::Confirmed
            };
        }
        let strong = history
            .last()
            .is_some_and(|newest| newest.is_some_and(|nats| nats >= self.at_once_nats));
        let recent = last(self.windows);
        let seen = recent.iter().filter(|window| window.is_some()).count();
        if strong || seen >= self.needed {
            Standing::Confirmed
        } else if seen > 0 {
            Standing::Watched
        } else {
            Standing::Clear
        }
    }
}

#[cfg(test)]
mod tests;
