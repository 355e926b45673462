//! The task that reads the RNICs' hardware counters.
//!
//! Channels:
//! - in: `inventory` (watch), which RNICs there are, those that cannot be used too;
//! - out: `rises` (bounded, [`RISES_DEPTH`]), by how much counters of faults have risen, for the next batch. What finds no
//!   place is told of with the next reading.
//!
//! It ends when its token is cancelled. Dropping it at any await is safe: what was not told of is lost with it.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::endpoint::Inventory;
use super::metrics::Metrics;
use crate::analysis::hardware::{MOST_COUNTERS, MOST_PORTS, PortRise, meaning};
use crate::config::defaults::agent::HARDWARE_INTERVAL;
use crate::hardware::{Ports, Source};
use crate::transport::RnicName;

/// Readings that wait for the collector, which takes them once a second.
pub(crate) const RISES_DEPTH: usize = 4;

/// The task.
pub(crate) struct Hardware {
    source: Option<Arc<dyn Source>>,
    inventory: watch::Receiver<Inventory>,
    rises: mpsc::Sender<Vec<PortRise>>,
    metrics: Arc<Metrics>,
    /// What was last told of.
    told: Ports,
}

impl Hardware {
    /// Without a source it only counts RNICs.
    pub(crate) fn new(
        source: Option<Arc<dyn Source>>,
        inventory: watch::Receiver<Inventory>,
        rises: mpsc::Sender<Vec<PortRise>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            source,
            inventory,
            rises,
            metrics,
            told: Ports::new(),
        }
    }

    /// Reads until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(HARDWARE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let (names, open) = {
                let inventory = self.inventory.borrow();
                let open = inventory.values().flatten();
                let open: Vec<_> = open.map(|open| open.capabilities.clock).collect();
                let names: Vec<_> = inventory.keys().take(MOST_PORTS).cloned().collect();
                (names, open)
            };
            self.metrics
                .rnics(&open, names.len().saturating_sub(open.len()));
            let Some(source) = self.source.clone() else {
                continue;
            };
            // The files are the driver's, which may take its time: not on the thread that probes.
            let reading = tokio::task::spawn_blocking(move || read(&*source, names));
            match stop.run_until_cancelled(reading).await {
                Some(Ok(ports)) => self.take(ports),
                Some(Err(error)) => tracing::error!(%error, "reading hardware counters failed"),
                None => return,
            }
        }
    }

    fn take(&mut self, ports: Ports) {
        let rises = risen(&self.told, &ports);
        if rises.is_empty() || self.rises.try_send(rises).is_ok() {
            self.told.clone_from(&ports);
        }
        self.metrics.hardware(ports);
    }
}

fn read(source: &dyn Source, names: Vec<RnicName>) -> Ports {
    names
        .into_iter()
        .map(|name| {
            let counters = source.read(&name);
            (name, counters)
        })
        .filter(|(_, counters)| !counters.is_empty())
        .collect()
}

/// By how much counters of faults have risen. One that is seen for the first time, or is lower than before because its
/// driver was loaded again, has not.
fn risen(before: &Ports, now: &Ports) -> Vec<PortRise> {
    now.iter()
        .filter_map(|(name, counters)| {
            let before = before.get(name)?;
            let counters: Vec<_> = counters
                .iter()
                .filter(|(counter, _)| meaning(counter.as_str()).is_some())
                .filter_map(|(counter, value)| {
                    let by = value.checked_sub(*before.get(counter)?)?;
                    (by > 0).then(|| (counter.clone(), by))
                })
                .take(MOST_COUNTERS)
                .collect();
            (!counters.is_empty()).then(|| PortRise {
                device: name.device.clone(),
                port: name.port,
                counters,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests;
