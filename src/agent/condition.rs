//! What an agent says of itself: to the controller with its heartbeats, and to the analyzer.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use super::endpoint::{Inventory, Orders};
use super::health::Health;
use super::services::ServiceStatus;
use crate::analysis::fleet::{AgentState, RnicState};
use crate::id::DeviceName;
use crate::transport::CompletionClock;

/// Where an agent's condition is seen. Clones see the same.
#[derive(Debug, Clone)]
pub struct Condition {
    /// What this agent does without for its whole life and why, in words.
    pub off: Vec<String>,
    /// Its RNICs.
    pub inventory: watch::Receiver<Inventory>,
    /// What the collector counts.
    pub health: watch::Receiver<Health>,
    /// Why no RNIC is found.
    pub without_rnics: watch::Receiver<Option<String>>,
    /// What becomes of the services' connections; `None` where nobody follows them.
    pub services: Option<watch::Receiver<ServiceStatus>>,
    /// What the registration lacks.
    pub registration: watch::Receiver<RegistrationTrouble>,
    /// What the endpoints probe.
    pub orders: watch::Receiver<Arc<Orders>>,
}

/// What the registration lacks, in words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistrationTrouble {
    /// Why the agent is not registered.
    pub unregistered: Option<String>,
    /// Why the pinglist is not on the disk.
    pub cache: Option<String>,
    /// Why the keys that the controller has handed out are not on the disk.
    pub keys: Option<String>,
}

impl Condition {
    /// What is off and why, in words; empty while nothing is.
    pub fn degraded(&self) -> Vec<String> {
        let mut degraded = self.off.clone();
        let without_rnics = self.without_rnics.borrow();
        degraded.extend(without_rnics.iter().map(|why| format!("probing: {why}")));
        if let Some(why) = &self.health.borrow().spool.trouble {
            degraded.push(format!("spool: results are kept in memory: {why}"));
        }
        let registration = self.registration.borrow();
        if let Some(why) = &registration.unregistered {
            degraded.push(format!("registration: {why}"));
        }
        if let Some(why) = &registration.cache {
            degraded.push(format!("pinglist cache: {why}"));
        }
        if let Some(why) = &registration.keys {
            degraded.push(format!(
                "cluster key: a restart needs the controller: {why}"
            ));
        }
        if let Some(services) = &self.services {
            degraded.extend(services.borrow().degraded());
        }
        for (rnic, state) in &*self.inventory.borrow() {
            if let Err(why) = state {
                degraded.push(format!("RNIC {rnic}: {why}"));
            }
        }
        degraded
    }

    /// Everything that the analyzer is told.
    pub fn state(&self) -> AgentState {
        let mut devices: BTreeMap<DeviceName, Result<CompletionClock, String>> = BTreeMap::new();
        for (name, state) in &*self.inventory.borrow() {
            let state = state.as_ref().map(|open| open.capabilities.clock);
            // A device can be used while one of its ports can.
            let known = devices.get(&name.device);
            if known.is_none_or(Result::is_err) {
                devices.insert(name.device.clone(), state.map_err(Clone::clone));
            }
        }
        let rnics = devices.into_iter().map(|(device, state)| RnicState {
            device,
            clock: state.as_ref().ok().copied(),
            closed: state.err(),
        });
        let orders = self.orders.borrow();
        // Focus has no 5-tuples of its own.
        let groups = orders.groups.values().flatten();
        let groups = groups.filter(|group| group.kind.of_path() == group.kind);
        AgentState {
            rnics: rnics.collect(),
            degraded: self.degraded(),
            tuples: groups.map(|group| group.paths.len() as u64).sum(),
            keys: Some(orders.key_use),
            is_stopping: false,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::agent::endpoint::OpenRnic;
    use crate::id::{QKey, Qpn};
    use crate::probe::Config;
    use crate::transport::{Address, Capabilities, RnicName, SourcePortSteering};

    /// Of an agent to which nothing happens.
    pub(in crate::agent) fn idle() -> Condition {
        let orders = Orders::idle(Config::default(), Arc::default());
        Condition {
            off: Vec::new(),
            inventory: watch::channel(Inventory::new()).1,
            health: watch::channel(Health::default()).1,
            without_rnics: watch::channel(None).1,
            services: None,
            registration: watch::channel(RegistrationTrouble::default()).1,
            orders: watch::channel(Arc::new(orders)).1,
        }
    }

    fn open() -> OpenRnic {
        OpenRnic {
            address: Address {
                gid: "10.0.0.1".parse().expect("a GID"),
                qpn: Qpn::from_lower_bits(17),
                q_key: QKey(1),
            },
            capabilities: Capabilities {
                clock: CompletionClock::Software,
                steering: SourcePortSteering::FlowLabel,
                sees_source_port: true,
            },
            gid_index: 1,
            tor: "tor0".into(),
        }
    }

    #[test]
    fn what_is_off_is_said_and_a_device_is_there_while_one_port_is() {
        let down = || Err("the port is down".to_owned());
        let port = |device: &str, port| RnicName {
            device: device.into(),
            port,
        };
        let inventory = Inventory::from([
            (port("mlx5_0", 1), down()),
            (port("mlx5_0", 2), Ok(open())),
            (port("mlx5_1", 1), Ok(open())),
            (port("mlx5_2", 1), down()),
        ]);
        let trouble = RegistrationTrouble {
            unregistered: Some("the controller is away".to_owned()),
            cache: None,
            keys: None,
        };
        let condition = Condition {
            off: vec!["tracing: no CAP_BPF".to_owned()],
            inventory: watch::channel(inventory).1,
            registration: watch::channel(trouble).1,
            ..idle()
        };
        let state = condition.state();
        let rnics: Vec<_> = state
            .rnics
            .iter()
            .map(|rnic| (rnic.device.as_str(), rnic.closed.as_deref(), rnic.clock))
            .collect();
        let (why, clock) = (Some("the port is down"), Some(CompletionClock::Software));
        assert_eq!(
            rnics,
            [
                ("mlx5_0", None, clock),
                ("mlx5_1", None, clock),
                ("mlx5_2", why, None)
            ]
        );
        assert_eq!(state.tuples, 0);
        insta::assert_snapshot!(state.degraded.join("\n"), @r"
        tracing: no CAP_BPF
        registration: the controller is away
        RNIC mlx5_0/1: the port is down
        RNIC mlx5_2/1: the port is down
        ");
    }
}
