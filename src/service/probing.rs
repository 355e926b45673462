//! Which paths are probed for the services' connections, from which RNIC, and whose address has to be asked for.
//!
//! Without I/O. The owner feeds in what the flow table tells, the RNICs of this host and the controller's answers, and
//! passes on what [`Planner::drain_changes`] and [`Planner::due_lookup`] give out.
//!
//! Connections of one service from one RNIC to one GID with one UDP source port and traffic class share a path. A destination is asked
//! for when a connection to it appears, in one call with all others of the next milliseconds, and again now and then,
//! so that a responder that has another queue pair is followed. A destination that no agent has registered is never
//! probed; the time between look-ups grows. Answers are kept for a while after the last connection has ended.

mod connection;
mod destinations;
mod path;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde::Serialize;

use self::connection::Connection;
use self::destinations::{Destinations, Standing};
use self::path::{PathKey, Paths};
use super::flow::{Flow, FlowChange, Owner, QpKey};
use super::naming::Naming;
use super::pods::PodNames;
use crate::id::Gid;
use crate::time::HostTime;
use crate::topology::Peer;

pub use self::connection::{Fidelity, Local, PathChange};

/// What is done for a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Following {
    /// Its path is probed.
    Probed {
        /// How far it is its own.
        fidelity: Fidelity,
    },
    /// The controller has not answered yet.
    Resolving,
    /// No agent has registered its destination.
    UnknownDestination,
    /// It does not use an RNIC that this agent probes from.
    NoEndpoint,
    /// It ends at the very RNIC where it begins.
    Loopback,
}

/// The planner in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Census {
    /// Live RC connections.
    pub connections: usize,
    /// Those that are probed.
    pub probed: usize,
    /// Those that are probed on their own path.
    pub own_path: usize,
    /// Those that no RNIC of this agent can probe for.
    pub no_endpoint: usize,
    /// Those that wait for an answer of the controller.
    pub resolving: usize,
    /// Paths that are probed.
    pub paths: usize,
    /// Destinations that no agent has registered, in order.
    pub unknown: BTreeSet<Gid>,
}

#[derive(Debug)]
struct Member {
    connection: Connection,
    owner: Option<Owner>,
    following: Following,
    path: Option<PathKey>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Planner {
    locals: Vec<Local>,
    members: HashMap<QpKey, Member>,
    destinations: Destinations,
    paths: Paths,
    naming: Naming,
    /// A connection of a pod without a name has come.
    has_unnamed: bool,
}

impl Planner {
    /// Names services so.
    pub fn new(naming: Naming) -> Self {
        Self {
            naming,
            ..Self::default()
        }
    }

    /// Pods go by these names from now on; paths of pods with another name are replaced.
    pub fn set_pods(&mut self, pods: Arc<PodNames>) {
        self.naming.set_pods(pods);
        let mut renamed = Vec::new();
        for (key, member) in &mut self.members {
            let name = self.naming.decide(member.owner.as_ref()).name;
            if member.connection.service != name {
                member.connection.service = name;
                renamed.push(key.clone());
            }
        }
        for key in renamed {
            self.place(&key);
        }
    }

    /// Whether a connection of a pod without a name has come since the last call.
    pub fn take_unnamed(&mut self) -> bool {
        std::mem::take(&mut self.has_unnamed)
    }

    /// Takes in what became of a connection.
    pub fn take(&mut self, change: &FlowChange, now: HostTime) {
        match change {
            FlowChange::Live(flow) => self.live(flow, now),
            FlowChange::Ended(key) => self.ended(key, now),
        }
    }

    /// The RNICs of this host are these from now on.
    pub fn set_locals(&mut self, locals: Vec<Local>) {
        if self.locals == locals {
            return;
        }
        self.locals = locals;
        let keys: Vec<_> = self.members.keys().cloned().collect();
        for key in keys {
            self.place(&key);
        }
    }

    /// Addresses that are known from elsewhere (pinglists): they answer before the controller does.
    pub fn set_hints(&mut self, hints: HashMap<Gid, Arc<Peer>>) {
        for gid in self.destinations.set_hints(hints) {
            self.place_all(gid);
        }
    }

    /// The destinations to ask the controller for now; each call is to be concluded with [`Self::answered`] or
    /// [`Self::failed`] before the next one gives anything.
    pub(crate) fn due_lookup(&mut self, now: HostTime) -> Option<Vec<Gid>> {
        self.destinations.due(now)
    }

    /// When [`Self::due_lookup`] gives something, unless something else happens before.
    pub(crate) fn next_lookup(&self) -> Option<HostTime> {
        self.destinations.next()
    }

    /// The controller's answer to a look-up: what it does not find is unknown.
    pub fn answered(&mut self, asked: &[Gid], found: &HashMap<Gid, Arc<Peer>>, now: HostTime) {
        for gid in self.destinations.answered(asked, found, now) {
            self.place_all(gid);
        }
    }

    /// The controller did not answer: it is asked again later, what was known stands.
    pub fn failed(&mut self, asked: &[Gid], now: HostTime) {
        self.destinations.failed(asked, now);
    }

    /// The paths that came, went or changed since the last call.
    pub fn drain_changes(&mut self) -> std::vec::Drain<'_, PathChange> {
        self.paths.drain_changes()
    }

    /// What is done for a connection; `None` if it is not a live one.
    pub fn following(&self, key: &QpKey) -> Option<&Following> {
        self.members.get(key).map(|member| &member.following)
    }

    /// Everything in numbers.
    pub fn census(&self) -> Census {
        let mut census = Census {
            connections: self.members.len(),
            paths: self.paths.len(),
            ..Census::default()
        };
        for member in self.members.values() {
            match member.following {
                Following::Probed { fidelity } => {
                    census.probed += 1;
                    census.own_path += usize::from(fidelity == Fidelity::OwnPath);
                }
                Following::Resolving => census.resolving += 1,
                Following::UnknownDestination => {
                    census.unknown.insert(member.connection.destination);
                }
                Following::NoEndpoint => census.no_endpoint += 1,
                Following::Loopback => {}
            }
        }
        census
    }

    fn live(&mut self, flow: &Flow, now: HostTime) {
        let Some(route) = flow.route else { return };
        let decided = self.naming.decide(flow.owner.as_ref());
        self.has_unnamed |= decided.is_unnamed_pod;
        let connection = Connection {
            source: flow.source,
            port: flow.port,
            destination: route.destination,
            source_port: flow.source_port(),
            traffic_class: route.traffic_class,
            service: decided.name,
        };
        if let Some(member) = self.members.get_mut(&flow.key) {
            member.owner.clone_from(&flow.owner);
            if member.connection == connection {
                return;
            }
            if member.connection.destination != connection.destination {
                let left = member.connection.destination;
                self.destinations.leave(left, &flow.key, now);
                self.destinations
                    .join(connection.destination, &flow.key, now);
            }
            member.connection = connection;
        } else {
            self.destinations
                .join(connection.destination, &flow.key, now);
            let member = Member {
                connection,
                owner: flow.owner.clone(),
                following: Following::Resolving,
                path: None,
            };
            self.members.insert(flow.key.clone(), member);
        }
        self.place(&flow.key);
    }

    fn ended(&mut self, key: &QpKey, now: HostTime) {
        if let Some(member) = self.members.remove(key) {
            let destination = member.connection.destination;
            self.destinations.leave(destination, key, now);
            if let Some(path) = member.path {
                self.paths.release(&path);
            }
        }
    }

    fn place_all(&mut self, destination: Gid) {
        for key in self.destinations.members(destination) {
            self.place(&key);
        }
    }

    /// Gives a connection the path that it has to have by what is known now.
    fn place(&mut self, key: &QpKey) {
        let Some(member) = self.members.get_mut(key) else {
            return;
        };
        let (following, wanted) = decide(
            key,
            &member.connection,
            &self.locals,
            self.destinations.standing(member.connection.destination),
        );
        member.following = following;
        let before = std::mem::replace(
            &mut member.path,
            wanted.as_ref().map(|(path, _)| path.clone()),
        );
        // The new one first: a path that both have is kept.
        if let Some((path, target)) = wanted {
            self.paths
                .set(&path, &target, before.as_ref() != Some(&path));
        }
        if let Some(before) = before
            && member.path.as_ref() != Some(&before)
        {
            self.paths.release(&before);
        }
    }
}

fn decide(
    key: &QpKey,
    connection: &Connection,
    locals: &[Local],
    standing: Standing<'_>,
) -> (Following, Option<(PathKey, Arc<Peer>)>) {
    let Some(local) = local_of(key, connection, locals) else {
        return (Following::NoEndpoint, None);
    };
    if local.gid == connection.destination {
        return (Following::Loopback, None);
    }
    match standing {
        Standing::Asked => (Following::Resolving, None),
        Standing::Unknown => (Following::UnknownDestination, None),
        Standing::Known(target) => {
            let path = path::key_of(key, connection, local);
            let fidelity = path::fidelity(connection, local, path.flow_label);
            (
                Following::Probed { fidelity },
                Some((path, Arc::clone(target))),
            )
        }
    }
}

/// The RNIC whose GID the connection has, else the one on the same device and port with an address of the same family.
fn local_of<'a>(key: &QpKey, connection: &Connection, locals: &'a [Local]) -> Option<&'a Local> {
    let own = connection.source.and_then(|source| {
        locals
            .iter()
            .find(|local| local.gid == source && local.rnic.device == key.device)
            .or_else(|| locals.iter().find(|local| local.gid == source))
    });
    own.or_else(|| {
        locals.iter().find(|local| {
            local.rnic.device == key.device
                && connection.port.is_none_or(|port| port == local.rnic.port)
                && local.gid.is_ipv4() == connection.destination.is_ipv4()
        })
    })
}

#[cfg(test)]
mod tests;
