//! From what a person types to an address: `gid%qpn` as it stands, everything else through the controller.

use std::net::IpAddr;

use rpingmesh::agent::client;
use rpingmesh::config::ConfigError;
use rpingmesh::config::agent::AgentConfig;
use rpingmesh::config::program::Failure;
use rpingmesh::id::{DeviceName, Gid, HostName, QKey, TargetName, TorId};
use rpingmesh::rpc::registry::{ResolvedRnic, TargetQuery};
use rpingmesh::topology::Peer;
use rpingmesh::transport::{Address, Endpoint};

/// What is known of a target before an endpoint is open.
pub(crate) struct Resolved {
    /// Where it is.
    pub(crate) name: TargetName,
    q_key: Option<QKey>,
    rnic: Option<ResolvedRnic>,
}

impl Resolved {
    /// As the session wants it. A target given by address alone has the Q_Key that this endpoint has.
    pub(crate) fn with_key_of(&self, endpoint: &dyn Endpoint) -> Peer {
        let address = Address {
            gid: self.name.gid,
            qpn: self.name.qpn,
            q_key: self.q_key.unwrap_or(endpoint.address().q_key),
        };
        match &self.rnic {
            None => unnamed(address),
            Some(found) => Peer {
                address,
                tor: found.rnic.tor.clone(),
                host: found.host.clone(),
                device: found.rnic.device.clone(),
            },
        }
    }
}

/// Finds the target.
///
/// # Errors
/// Usage errors for what is no target; failures when the controller cannot be asked or does not know it.
pub(crate) async fn resolve(
    text: &str,
    q_key: Option<QKey>,
    config: &AgentConfig,
) -> Result<Resolved, Failure> {
    if text.contains('%') {
        let name = text
            .parse()
            .map_err(|error| ConfigError::value("TARGET", format!("{error}")))?;
        return Ok(Resolved {
            name,
            q_key,
            rnic: None,
        });
    }
    let query = match text.parse::<IpAddr>() {
        Ok(ip) => TargetQuery::Gid(Gid::from(ip)),
        Err(_) => TargetQuery::Host(HostName::from(text)),
    };
    let controller = client::Controller::new(&config.controller, &config.security)?;
    let found = controller.resolve(&query).await.map_err(Failure::run)?;
    let Some(first) = found.into_iter().next() else {
        return Err(Failure::run(format!(
            "controller {} has no registered RNIC for `{text}`: check the name, and that an agent runs there",
            config.controller
        )));
    };
    Ok(Resolved {
        name: first.rnic.address.name(),
        q_key: Some(first.rnic.address.q_key),
        rnic: Some(first),
    })
}

/// A target without a registration: nothing is known but its address.
pub(super) fn unnamed(address: Address) -> Peer {
    Peer {
        address,
        tor: TorId::from(""),
        host: HostName::from(""),
        device: DeviceName::from(""),
    }
}
