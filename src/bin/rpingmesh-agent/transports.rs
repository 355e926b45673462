//! Which transport carries the probes: what was asked for, or what this system can do.

use std::sync::Arc;

use rpingmesh::config::agent::{AgentConfig, TransportChoice};
use rpingmesh::error::describe;
use rpingmesh::id::Gid;
use rpingmesh::transport::userspace::{self, UserspaceProvider};
use rpingmesh::transport::{Provider, RnicPort, TransportError};

use crate::rdma_settings::{GidChoice, Settings};
use crate::tracer::Prover;
use crate::verbs::{self, Verbs};

/// What can be done without a device.
const WITHOUT: &str =
    "`--transport userspace` does without RDMA, but keeps soft-RoCE from starting";

/// The outcome of a choice.
pub(crate) struct Chosen {
    /// `None` for no probing at all.
    pub(crate) provider: Option<Arc<dyn Provider>>,
    /// What was chosen and why, in one line.
    pub(crate) why: String,
    /// Why there is no provider.
    missing: String,
}

impl Chosen {
    fn new(provider: Arc<dyn Provider>, why: &str) -> Self {
        Self {
            why: format!("transport {}: {why}", provider.name()),
            provider: Some(provider),
            missing: String::new(),
        }
    }

    fn none(missing: &str, why: &str) -> Self {
        Self {
            provider: None,
            why: format!("transport none: {why}"),
            missing: missing.to_owned(),
        }
    }

    /// For commands that cannot do without.
    ///
    /// # Errors
    /// [`TransportError::NoDevice`] with the reason of the choice.
    pub(crate) fn required(self) -> Result<Arc<dyn Provider>, TransportError> {
        self.provider
            .ok_or_else(|| TransportError::NoDevice(format!("{}; {WITHOUT}", self.missing)))
    }
}

/// The settings of the verbs transport.
pub(crate) fn verbs_settings(config: &AgentConfig) -> Settings {
    let gid = match (config.settings.gid_index, config.settings.gids.is_empty()) {
        (Some(index), _) => GidChoice::Index(index),
        (None, false) => GidChoice::Gids(config.settings.gids.clone()),
        (None, true) => GidChoice::Auto,
    };
    Settings {
        gid,
        steering: config.settings.steering,
        queue_pairs: config.settings.queue_pairs.into(),
        ..Settings::default()
    }
}

/// What makes the queue pair that the tracer checks itself with.
pub(crate) fn prover(config: &AgentConfig) -> Prover {
    let settings = verbs_settings(config);
    Arc::new(move || verbs::specimen(&settings))
}

/// Chooses by configuration and system.
///
/// # Errors
/// What was asked for by name and cannot be had.
pub(crate) fn choose(config: &AgentConfig) -> Result<Chosen, TransportError> {
    match config.settings.transport {
        TransportChoice::Verbs => Ok(Chosen::new(
            Arc::new(Verbs::new(verbs_settings(config))?),
            "as configured",
        )),
        TransportChoice::Userspace => Ok(Chosen::new(userspace(config), "as configured")),
        TransportChoice::None => Ok(Chosen::none(
            "`transport` is none",
            "as configured, this agent neither probes nor answers",
        )),
        TransportChoice::Auto => Ok(automatic(config)),
    }
}

fn userspace(config: &AgentConfig) -> Arc<dyn Provider> {
    Arc::new(UserspaceProvider::new(userspace::Config {
        addresses: config.settings.userspace_addresses.clone(),
        udp_port: config.settings.userspace_port,
        ..userspace::Config::default()
    }))
}

fn automatic(config: &AgentConfig) -> Chosen {
    if !verbs::EXISTS {
        return Chosen::new(userspace(config), "this system has no RDMA devices");
    }
    let usable = Verbs::new(verbs_settings(config)).and_then(|verbs| {
        let ports = usable_ports(&verbs, config)?;
        Ok((verbs, ports))
    });
    match usable {
        Ok((verbs, ports)) => {
            let names: Vec<_> = ports.iter().map(|port| port.name.to_string()).collect();
            Chosen::new(
                Arc::new(verbs),
                &format!("usable RNICs are {}", names.join(", ")),
            )
        }
        Err(error) => {
            let cause = match error {
                TransportError::NoDevice(why) => why,
                other => describe(&other),
            };
            let why = format!(
                "no RDMA device is usable ({cause}), so this agent neither probes nor answers; {WITHOUT}"
            );
            Chosen::none(&cause, &why)
        }
    }
}

/// The RNIC ports of a provider that the configuration allows.
///
/// # Errors
/// [`TransportError::NoDevice`] when none is left, and those of [`Provider::discover`].
pub(crate) fn usable_ports(
    provider: &dyn Provider,
    config: &AgentConfig,
) -> Result<Vec<RnicPort>, TransportError> {
    let mut ports = provider.discover()?;
    let found: Vec<_> = ports.iter().map(|port| port.name.to_string()).collect();
    ports.retain(|port| config.allows(&port.name));
    if ports.is_empty() {
        return Err(TransportError::NoDevice(format!(
            "`devices` allows none of {}",
            found.join(", ")
        )));
    }
    Ok(ports)
}

/// The first port from which a target can be reached: of the same address family, link-local like it or not.
///
/// # Errors
/// [`TransportError::NoDevice`].
pub(crate) fn port_towards(ports: Vec<RnicPort>, target: Gid) -> Result<RnicPort, TransportError> {
    let fits = |gid: Gid| {
        gid.is_ipv4() == target.is_ipv4() && gid.is_link_local() == target.is_link_local()
    };
    let gids: Vec<_> = ports.iter().map(|port| port.gid.to_string()).collect();
    ports
        .into_iter()
        .find(|port| fits(port.gid))
        .ok_or_else(|| {
            TransportError::NoDevice(format!(
                "{target} cannot be reached from {}: choose an RNIC with `--devices` or a GID of the same kind with \
                 `--gid-index`",
                gids.join(", ")
            ))
        })
}
