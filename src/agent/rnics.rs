//! The task that finds RNICs: starts an endpoint's task for each, now and when one appears later.
//!
//! Channels: those of [`Shared`], handed on to each endpoint's task; `degraded` (watch), what is off and why; one watch
//! per endpoint's task, with the GID that its RNIC would be opened with now, and one with the ToR that it is cabled to. When its token is cancelled it waits for the
//! endpoints' tasks, which have the same token. Dropping it aborts them.
//!
//! An endpoint's task that panics is started again: the other RNICs go on probing, and no other task relies on its state.
//! Until it is open again the inventory says why it is not.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::endpoint::{EndpointTask, Inventory, Shared, Sighting};
use crate::config::agent::AgentConfig;
use crate::config::defaults::agent::RESCAN_INTERVAL;
use crate::error::describe;
use crate::id::TorId;
use crate::supervisor::restarted;
use crate::topology::lldp::{LldpError, Neighbours};
use crate::transport::{RnicName, RnicPort, TransportError};

/// How soon to look again while there is no RNIC that can be used, and for how long: at boot the agent often comes before
/// the addresses.
const RESCAN_WITHOUT: Duration = Duration::from_secs(1);
const BOOT: Duration = Duration::from_mins(5);

/// The task.
pub(crate) struct Rnics {
    shared: Shared,
    config: Arc<AgentConfig>,
    degraded: watch::Sender<Option<String>>,
    started: HashMap<RnicName, Started>,
    /// RNICs that are not used, and why.
    without_tor: HashMap<RnicName, String>,
    tasks: JoinSet<()>,
}

/// What the task of an endpoint is told.
struct Started {
    sighting: watch::Sender<Option<Sighting>>,
    tor: watch::Sender<TorId>,
}

impl Rnics {
    /// `degraded` gets the reason while no RNIC can be found.
    pub(crate) fn new(
        shared: Shared,
        config: Arc<AgentConfig>,
        degraded: watch::Sender<Option<String>>,
    ) -> Self {
        Self {
            shared,
            config,
            degraded,
            started: HashMap::new(),
            without_tor: HashMap::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Looks for RNICs until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let begun = tokio::time::Instant::now();
        let mut wait = Duration::ZERO;
        while stop
            .run_until_cancelled(tokio::time::sleep(wait))
            .await
            .is_some()
        {
            let before = self.shared.inventory.borrow().clone();
            let provider = self.shared.provider.clone();
            // Discovery opens devices: not on the thread that probes.
            let lldp = self.config.settings.lldp.clone();
            let looking = tokio::task::spawn_blocking(move || {
                (
                    provider.discover(),
                    lldp.map(|file| Neighbours::read(&file)),
                )
            });
            match stop.run_until_cancelled(looking).await {
                Some(Ok((found, lldp))) => self.take(found, lldp.as_ref(), &before, &stop),
                Some(Err(error)) => tracing::error!(%error, "looking for RNICs failed"),
                None => break,
            }
            wait = if self.started.is_empty() && begun.elapsed() < BOOT {
                RESCAN_WITHOUT
            } else {
                RESCAN_INTERVAL
            };
        }
        while self.tasks.join_next().await.is_some() {}
    }

    /// `before` is who was reached where when the look at the RNICs began.
    fn take(
        &mut self,
        found: Result<Vec<RnicPort>, TransportError>,
        lldp: Option<&Result<Neighbours, LldpError>>,
        before: &Inventory,
        stop: &CancellationToken,
    ) {
        let ports: Vec<_> = match found {
            Ok(ports) => ports
                .into_iter()
                .filter(|port| self.config.allows(&port.name))
                .collect(),
            Err(error) => return self.report(Some(describe(&error))),
        };
        let nothing = ports.is_empty() && self.started.is_empty();
        self.report(
            nothing.then(|| "`devices` allows none of the RNICs that can be used now".to_owned()),
        );
        for port in ports {
            if self.sighted(&port, before) {
                self.follow_cable(&port, lldp);
                continue;
            }
            match self.tor_of(&port, lldp) {
                Ok(tor) => self.start(port.name, tor, stop),
                Err(why) => self.leave_out(port.name, why),
            }
        }
    }

    /// Tells an endpoint's task that its RNIC would be opened with another GID now. What changed during the look is left
    /// for the next one: it may be older than the endpoint.
    fn sighted(&self, port: &RnicPort, before: &Inventory) -> bool {
        let Some(started) = self.started.get(&port.name) else {
            return false;
        };
        let inventory = self.shared.inventory.borrow();
        let now = inventory.get(&port.name);
        if let Some(Ok(open)) = now
            && before.get(&port.name) == now
            && (open.address.gid, open.gid_index) != (port.gid, port.gid_index)
        {
            let sighting = Some((port.gid, port.gid_index));
            started.sighting.send_replace(sighting);
        }
        true
    }

    /// Tells an endpoint's task that its RNIC is cabled to another switch now. While nothing can be said it stays where it was.
    fn follow_cable(&self, port: &RnicPort, lldp: Option<&Result<Neighbours, LldpError>>) {
        let (Some(started), Ok(tor)) = (self.started.get(&port.name), self.tor_of(port, lldp))
        else {
            return;
        };
        started.tor.send_if_modified(|known| {
            if *known == tor {
                return false;
            }
            tracing::warn!(
                rnic = %port.name, before = %known, now = %tor,
                "its interface has another switch as its neighbour: registered there from now on"
            );
            *known = tor;
            true
        });
    }

    /// The ToR of an RNIC: as configured, or the switch at its interface.
    fn tor_of(
        &self,
        port: &RnicPort,
        lldp: Option<&Result<Neighbours, LldpError>>,
    ) -> Result<TorId, String> {
        if let Some(tor) = self.config.tors.of(&port.name) {
            return Ok(tor.clone());
        }
        let neighbours = match lldp {
            None => {
                return Err("no ToR is configured for it (`tor` or `device_tors`)".to_owned());
            }
            Some(Ok(neighbours)) => neighbours,
            Some(Err(error)) => return Err(format!("no ToR is known for it: {error}")),
        };
        let Some(interface) = &port.interface else {
            return Err(
                "no ToR is configured for it, and it has no network interface to ask lldpd about"
                    .to_owned(),
            );
        };
        let found = neighbours.at(interface);
        found.map_err(|error| format!("no ToR is known for it: {error}"))
    }

    /// Says why an RNIC is not used, when it becomes different.
    fn leave_out(&mut self, name: RnicName, why: String) {
        if self.without_tor.get(&name) == Some(&why) {
            return;
        }
        tracing::warn!(rnic = %name, why, "is not used");
        self.shared.inventory.send_modify(|inventory| {
            inventory.insert(name.clone(), Err(why.clone()));
        });
        self.without_tor.insert(name, why);
    }

    fn start(&mut self, name: RnicName, tor: TorId, stop: &CancellationToken) {
        self.without_tor.remove(&name);
        let (sender, sighting) = watch::channel(None);
        let (cable, tor) = watch::channel(tor);
        let (shared, rnic) = (self.shared.clone(), name.clone());
        let make = move |stop| {
            let (shared, rnic, tor) = (shared.clone(), rnic.clone(), tor.clone());
            EndpointTask::watching(shared, rnic, tor, sighting.clone()).run(stop)
        };
        let task = format!("RNIC {name}").into();
        self.tasks
            .spawn(restarted("agent", task, stop.clone(), make));
        let started = Started {
            sighting: sender,
            tor: cable,
        };
        self.started.insert(name, started);
    }

    /// Logs when it becomes different.
    fn report(&self, why: Option<String>) {
        self.degraded.send_if_modified(|known| {
            if *known == why {
                return false;
            }
            if let Some(why) = &why {
                tracing::warn!(error = why, "no RNIC can be used, looking again");
            } else {
                tracing::info!("RNICs can be used");
            }
            *known = why;
            true
        });
    }
}

#[cfg(test)]
mod tests;
