//! The hosts of the lab: one agent each, which runs while its host has power.
//!
//! A fault `host NAME down` takes the power away: the agent is dropped as it stands. It sends no probe, answers none and
//! uploads nothing, and what its spool held in memory is lost. When the fault ends a new agent starts, as after a boot.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::fabric::Engine;
use crate::fabric::fault::Place;
use crate::fault::Effect;

/// A time without power, from the start of the fabric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Outage {
    from: Duration,
    /// `None` for one that stays.
    until: Option<Duration>,
}

impl Outage {
    fn holds_at(&self, since: Duration) -> bool {
        self.from <= since && self.until.is_none_or(|until| since < until)
    }
}

/// When one host has no power.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Outages(Vec<Outage>);

impl Outages {
    /// Those of a host by its number, from the faults that were injected.
    pub(super) fn of(engine: &Engine, host: u32) -> Self {
        let faults = engine.fault_truth().map(|(resolved, _)| resolved);
        let down = faults.filter(|resolved| {
            resolved
                .places
                .iter()
                .any(|(place, effect)| *place == Place::Host(host) && *effect == Effect::Down)
        });
        let outages = down.map(|resolved| Outage {
            from: resolved.fault.at,
            until: resolved
                .fault
                .lasts
                .map(|lasts| resolved.fault.at.saturating_add(lasts)),
        });
        Self(outages.collect())
    }

    fn is_down(&self, since: Duration) -> bool {
        self.0.iter().any(|outage| outage.holds_at(since))
    }

    /// When the power goes or comes back next.
    fn next_change(&self, since: Duration) -> Option<Duration> {
        self.0
            .iter()
            .flat_map(|outage| [Some(outage.from), outage.until])
            .flatten()
            .filter(|at| *at > since)
            .filter(|at| self.is_down(*at) != self.is_down(since))
            .min()
    }
}

/// Runs the agents that `boot` makes, one after each return of the power, until `stop`; `began` is the start of the
/// fabric.
///
/// # Errors
/// The agent's.
pub(super) async fn run<F, E>(
    outages: Outages,
    began: Instant,
    stop: CancellationToken,
    mut boot: impl FnMut(CancellationToken) -> F,
) -> Result<(), E>
where
    F: Future<Output = Result<(), E>>,
{
    // Timers wake up late, never early: each change of power is taken when it is due.
    let mut since = began.elapsed();
    loop {
        let next = outages.next_change(since);
        let change = async {
            match next {
                Some(at) => tokio::time::sleep_until(began + at).await,
                None => std::future::pending().await,
            }
        };
        if outages.is_down(since) {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = change => {}
            }
        } else {
            tokio::select! {
                ended = boot(stop.clone()) => return ended,
                // The agent's future is dropped here, and all its tasks with it.
                () = change => {}
            }
        }
        since = next.unwrap_or(since);
    }
}

#[cfg(test)]
mod tests;
