//! Messages of the registration and of target resolution.

use std::collections::HashSet;

use crate::id::{AgentId, Gid, HostName};
use crate::topology::{Announcement, Rnic};

use super::convert::{self, FieldError};
use super::v1;

/// More RNICs than any host has; bounds what one agent can make the controller store.
pub const MAX_RNICS: usize = 64;

impl From<&Rnic> for v1::Rnic {
    fn from(rnic: &Rnic) -> Self {
        let (steering, source_ports) = convert::steering_to_wire(&rnic.steering);
        Self {
            address: Some(rnic.address.into()),
            device: rnic.device.as_str().to_owned(),
            port: u32::from(rnic.port),
            tor: rnic.tor.as_str().to_owned(),
            gid_index: rnic.gid_index,
            completion_clock: v1::CompletionClock::from(rnic.clock).into(),
            steering: steering.into(),
            source_ports,
        }
    }
}

impl TryFrom<v1::Rnic> for Rnic {
    type Error = FieldError;

    fn try_from(rnic: v1::Rnic) -> Result<Self, FieldError> {
        let port = u8::try_from(rnic.port)
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(|| {
                FieldError::new(
                    "port",
                    format!("{} is not a port number from 1 to 255", rnic.port),
                )
            })?;
        Ok(Self {
            address: convert::address("address", rnic.address)?,
            device: convert::name("device", rnic.device)?,
            port,
            tor: convert::name("tor", rnic.tor)?,
            gid_index: rnic.gid_index,
            clock: convert::clock("completion_clock", rnic.completion_clock)?,
            steering: convert::steering("steering", rnic.steering, &rnic.source_ports)?,
        })
    }
}

impl From<&Announcement> for v1::Announcement {
    fn from(announcement: &Announcement) -> Self {
        Self {
            agent_id: announcement.agent.as_str().to_owned(),
            incarnation: announcement.incarnation,
            host: announcement.host.as_str().to_owned(),
            version: announcement.version.clone(),
            rnics: announcement.rnics.iter().map(Into::into).collect(),
            // Who announces adds it.
            machine: String::new(),
            keys: None,
        }
    }
}

impl TryFrom<v1::Announcement> for Announcement {
    type Error = FieldError;

    fn try_from(announcement: v1::Announcement) -> Result<Self, FieldError> {
        if announcement.rnics.len() > MAX_RNICS {
            let count = announcement.rnics.len();
            return Err(FieldError::new(
                "rnics",
                format!("has {count} entries, at most {MAX_RNICS} are accepted"),
            ));
        }
        let rnics = announcement
            .rnics
            .into_iter()
            .enumerate()
            .map(|(index, rnic)| {
                Rnic::try_from(rnic).map_err(|error| error.within(&format!("rnics[{index}]")))
            })
            .collect::<Result<Vec<_>, _>>()?;
        check_distinct(&rnics)?;
        Ok(Self {
            agent: convert::name("agent_id", announcement.agent_id)?,
            incarnation: announcement.incarnation,
            host: convert::name("host", announcement.host)?,
            version: convert::optional_text("version", announcement.version)?,
            rnics,
        })
    }
}

fn check_distinct(rnics: &[Rnic]) -> Result<(), FieldError> {
    let mut seen: HashSet<Gid> = HashSet::new();
    for (index, rnic) in rnics.iter().enumerate() {
        let gid = rnic.address.gid;
        if !seen.insert(gid) {
            return Err(FieldError::new(
                format!("rnics[{index}].address.gid"),
                format!("{gid} occurs twice in one announcement"),
            ));
        }
    }
    Ok(())
}

/// How a target is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetQuery {
    /// By GID; an IP address is asked for by the GID that stands for it.
    Gid(Gid),
    /// All RNICs of a host.
    Host(HostName),
}

impl From<&TargetQuery> for v1::TargetQuery {
    fn from(query: &TargetQuery) -> Self {
        let by = match query {
            TargetQuery::Gid(gid) => v1::target_query::By::Gid(convert::gid_bytes(*gid)),
            TargetQuery::Host(host) => v1::target_query::By::Host(host.as_str().to_owned()),
        };
        Self { by: Some(by) }
    }
}

impl TryFrom<v1::TargetQuery> for TargetQuery {
    type Error = FieldError;

    fn try_from(query: v1::TargetQuery) -> Result<Self, FieldError> {
        match convert::required("by", query.by)? {
            v1::target_query::By::Gid(bytes) => convert::gid("gid", &bytes).map(Self::Gid),
            v1::target_query::By::Host(host) => convert::name("host", host).map(Self::Host),
            v1::target_query::By::Ip(text) => text
                .parse()
                .map(Self::Gid)
                .map_err(|_| FieldError::new("ip", format!("`{text}` is not an IP address"))),
        }
    }
}

/// A registered RNIC that a query found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedRnic {
    /// The RNIC.
    pub rnic: Rnic,
    /// Its host.
    pub host: HostName,
    /// The agent that announced it.
    pub agent: AgentId,
}

impl From<&ResolvedRnic> for v1::ResolvedRnic {
    fn from(resolved: &ResolvedRnic) -> Self {
        Self {
            rnic: Some((&resolved.rnic).into()),
            host: resolved.host.as_str().to_owned(),
            agent_id: resolved.agent.as_str().to_owned(),
        }
    }
}

impl TryFrom<v1::ResolvedRnic> for ResolvedRnic {
    type Error = FieldError;

    fn try_from(resolved: v1::ResolvedRnic) -> Result<Self, FieldError> {
        Ok(Self {
            rnic: convert::required("rnic", resolved.rnic)?
                .try_into()
                .map_err(|error: FieldError| error.within("rnic"))?,
            host: convert::name("host", resolved.host)?,
            agent: convert::name("agent_id", resolved.agent_id)?,
        })
    }
}

#[cfg(test)]
pub(super) mod tests;
