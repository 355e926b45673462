//! The task that finds RNICs: starts an endpoint's task for each, now and when one appears later.
//!
//! Channels: those of [`Shared`], handed on to each endpoint's task, and `degraded` (watch), what is off and why. When
//! its token is cancelled it waits for the endpoints' tasks, which have the same token.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::endpoint::{EndpointTask, Shared};
use crate::config::agent::AgentConfig;
use crate::config::defaults::agent::RESCAN_INTERVAL;
use crate::config::program::describe;
use crate::transport::{RnicName, RnicPort, TransportError};

/// The task.
pub struct Rnics {
    shared: Shared,
    config: Arc<AgentConfig>,
    degraded: watch::Sender<Option<String>>,
    started: HashSet<RnicName>,
    without_tor: HashSet<RnicName>,
    tasks: TaskTracker,
}

impl Rnics {
    /// `degraded` gets the reason while no RNIC can be found.
    pub fn new(
        shared: Shared,
        config: Arc<AgentConfig>,
        degraded: watch::Sender<Option<String>>,
    ) -> Self {
        Self {
            shared,
            config,
            degraded,
            started: HashSet::new(),
            without_tor: HashSet::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// Looks for RNICs until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut ticks = interval(RESCAN_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let provider = self.shared.provider.clone();
            // Discovery opens devices: not on the thread that probes.
            let found = tokio::task::spawn_blocking(move || provider.discover()).await;
            match found {
                Ok(found) => self.take(found, &stop),
                Err(error) => tracing::error!(%error, "looking for RNICs failed"),
            }
        }
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn take(&mut self, found: Result<Vec<RnicPort>, TransportError>, stop: &CancellationToken) {
        let ports: Vec<_> = match found {
            Ok(ports) => ports
                .into_iter()
                .filter(|port| self.config.allows(&port.name))
                .collect(),
            Err(error) => return self.report(Some(describe(&error))),
        };
        let nothing = ports.is_empty() && self.started.is_empty();
        self.report(nothing.then(|| "`devices` allows none of the RNICs of this host".to_owned()));
        for port in ports {
            self.start(port.name, stop);
        }
    }

    fn start(&mut self, name: RnicName, stop: &CancellationToken) {
        if self.started.contains(&name) {
            return;
        }
        let Some(tor) = self.config.tors.of(&name).cloned() else {
            if self.without_tor.insert(name.clone()) {
                tracing::warn!(rnic = %name, "is not used: no ToR is configured for it (`tor` or `device_tors`)");
            }
            return;
        };
        let task = EndpointTask::new(self.shared.clone(), name.clone(), tor);
        self.tasks.spawn(task.run(stop.clone()));
        self.started.insert(name);
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
