//! Trials and failures on paths, compressed for the search.
//!
//! An observation without failures enters as sums per component: its likelihood is a product over the components that it
//! crosses, or may cross. Only observations with failures are kept one by one. So the work grows with what is lost, and
//! bodies of evidence of several analyzers add up.

use super::component::ComponentId;
use super::error::ProblemError;

/// How an observation has to do with a component.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) component: ComponentId,
    /// Probability that its path crosses the component, 0 to 1: less than 1 for one of several candidate paths, or where the
    /// path that was told may be out of date.
    pub(super) share: f64,
    /// How often a packet crosses it, where it does: twice for a spine on both directions of a round trip.
    pub(super) times: f64,
}

impl Part {
    /// From the sum of the shares of all directions; a component that is surely crossed may have more than 1.
    pub(super) const fn new(component: ComponentId, sum: f64) -> Self {
        Self {
            component,
            share: sum.min(1.0),
            times: sum.max(1.0),
        }
    }

    /// How a packet that passes the fabric one way has to do with a component of which a loss is one of a round trip, which passes it
    /// twice: an RNIC or a ToR at the ends.
    pub(super) const fn halved(mut self) -> Self {
        self.times *= 0.5;
        self
    }

    /// Whether the path surely crosses it.
    pub(super) fn is_sure(&self) -> bool {
        self.share >= SURE
    }
}

/// From this share on a path surely crosses a component: sums of candidates' shares are not exact.
const SURE: f64 = 1.0 - 1e-9;

/// An observation that the search keeps on its own.
#[derive(Debug, Clone)]
pub(super) struct Lossy {
    /// Components on the path, links first.
    pub(super) parts: Vec<Part>,
    /// Links on the path: each adds the background hazard.
    pub(super) links: f64,
    /// Trials.
    pub(super) sent: f64,
    /// Failures.
    pub(super) lost: f64,
    /// Probability that the path is another than the one that was told; 0 where candidates stand for it. The parts with a
    /// share below 1 are then crossed all or none.
    pub(super) elsewhere: f64,
    /// The trials are second ACKs. The likelihood counts them; counts of probes leave them out.
    pub(super) are_acks: bool,
}

impl Lossy {
    pub(super) const fn passed(&self) -> f64 {
        self.sent - self.lost
    }

    /// The share with which the path crosses a component if it is one of those that were told.
    pub(super) fn told(&self, share: f64) -> f64 {
        if self.elsewhere > 0.0 {
            (share / (1.0 - self.elsewhere)).min(1.0)
        } else {
            share
        }
    }
}

/// A lossy observation of a component.
#[derive(Debug, Clone, Copy)]
pub(super) struct Posting {
    /// Its place among the lossy ones.
    pub(super) at: u32,
    /// As in [`Part`].
    pub(super) share: f64,
    /// As in [`Part`].
    pub(super) times: f64,
}

impl Posting {
    pub(super) const fn index(&self) -> usize {
        self.at as usize
    }

    pub(super) fn is_sure(&self) -> bool {
        self.share >= SURE
    }
}

/// Observations without failures that may cross a component, brought together: alike in share and number of trials.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spared {
    /// Probability that each of them crosses it.
    pub(super) share: f64,
    /// How many observations.
    pub(super) count: f64,
    /// Trials of all of them, each as often as it crosses.
    pub(super) trials: f64,
}

impl Spared {
    /// Trials of one of them.
    pub(super) fn each(&self) -> f64 {
        self.trials / self.count
    }

    /// Whether another observation is like these: shares within 2 %, trials within an eighth.
    fn is_like(&self, share: f64, trials: f64) -> bool {
        (self.share - share).abs() <= 0.02 * share
            && (self.each() - trials).abs() <= 0.125 * trials.max(self.each())
    }
}

/// What passed through a component, beside each other in memory: every observation touches a few of these.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sums {
    /// Trials that surely crossed it and passed.
    pub(super) passed: f64,
    /// Trials, by share.
    pub(super) sent: f64,
    /// Observations, whatever the share.
    pub(super) crossing: u32,
}

/// Trials and failures on paths. See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Evidence {
    pub(super) sums: Vec<Sums>,
    /// Observations without failures of each component that they may cross.
    pub(super) spared: Vec<Vec<Spared>>,
    pub(super) lossy: Vec<Lossy>,
    /// Lossy observations of each component.
    pub(super) postings: Vec<Vec<Posting>>,
    /// Passed trials times links on their paths.
    pub(super) passed_links: f64,
    /// Observations.
    pub(super) observations: f64,
}

/// An observation on its way into a body of evidence.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counted<'a> {
    pub(super) parts: &'a [Part],
    pub(super) links: f64,
    pub(super) elsewhere: f64,
    pub(super) sent: f64,
    pub(super) lost: f64,
}

impl Evidence {
    /// Makes room for one more component.
    pub(super) fn grow(&mut self) {
        self.sums.push(Sums::default());
        self.spared.push(Vec::new());
        self.postings.push(Vec::new());
    }

    /// All failures.
    pub(super) fn lost(&self) -> f64 {
        self.lossy.iter().map(|lossy| lossy.lost).sum()
    }

    pub(super) fn add(&mut self, observation: Counted<'_>) -> Result<(), ProblemError> {
        if observation.lost > 0.0 {
            u32::try_from(self.lossy.len()).map_err(|_| ProblemError::TooMany)?;
            self.append(observation);
        } else {
            self.count(observation);
            for part in observation.parts.iter().filter(|part| !part.is_sure()) {
                self.spare(part, observation.sent * part.times);
            }
        }
        Ok(())
    }

    fn spare(&mut self, part: &Part, trials: f64) {
        self.spare_many(part.component.index(), part.share, 1.0, trials);
    }

    /// Brings in so many observations without failures that may cross the component in a place, alike in share and number of trials;
    /// `trials` are those of all of them.
    pub(super) fn spare_many(&mut self, at: usize, share: f64, count: f64, trials: f64) {
        let spared = &mut self.spared[at];
        match spared
            .iter_mut()
            .find(|known| known.is_like(share, trials / count))
        {
            Some(known) => {
                known.count += count;
                known.trials += trials;
            }
            None => spared.push(Spared {
                share,
                count,
                trials,
            }),
        }
    }

    fn count(&mut self, observation: Counted<'_>) {
        let Counted {
            parts,
            links,
            elsewhere,
            sent,
            lost,
        } = observation;
        let told = 1.0 - elsewhere;
        for part in parts {
            let sums = &mut self.sums[part.component.index()];
            let share = if part.is_sure() {
                sums.passed += part.times * (sent - lost);
                part.times
            } else {
                (part.share / told).min(1.0)
            };
            sums.sent += share * sent;
            sums.crossing += 1;
        }
        self.passed_links += links * (sent - lost);
        self.observations += 1.0;
    }

    /// Adds an observation among those with losses, though it may have none.
    pub(super) fn append(&mut self, observation: Counted<'_>) {
        self.count(observation);
        self.append_lossy(observation, false);
    }

    /// Adds second ACKs, of which some were lost. Counts of probes leave them out.
    ///
    /// # Errors
    /// [`ProblemError::TooMany`].
    pub(super) fn add_acks(&mut self, observation: Counted<'_>) -> Result<(), ProblemError> {
        u32::try_from(self.lossy.len()).map_err(|_| ProblemError::TooMany)?;
        let passed = observation.sent - observation.lost;
        for part in observation.parts.iter().filter(|part| part.is_sure()) {
            self.sums[part.component.index()].passed += part.times * passed;
        }
        self.passed_links += observation.links * passed;
        self.append_lossy(observation, true);
        Ok(())
    }

    fn append_lossy(&mut self, observation: Counted<'_>, are_acks: bool) {
        let at = u32::try_from(self.lossy.len()).unwrap_or(u32::MAX);
        for part in observation.parts {
            self.postings[part.component.index()].push(Posting {
                at,
                share: part.share,
                times: part.times,
            });
        }
        self.lossy.push(Lossy {
            parts: observation.parts.to_vec(),
            links: observation.links,
            sent: observation.sent,
            lost: observation.lost,
            elsewhere: observation.elsewhere,
            are_acks,
        });
    }
}
