//! How switches, hosts and RNICs are cabled, as the topology file says it, and how many equal-cost paths that gives
//! between ToRs.
//!
//! There is one file format and one parser for all programs: [`Wiring::parse`]. The file as it is written is
//! [`file::File`]; a [`Wiring`] has been checked, so that what uses it need not check again.

mod error;
pub mod file;
pub(crate) mod graph;

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use crate::id::{DeviceName, HostName, TorId};

pub use error::WiringError;
pub use file::{Link, Switch};
pub use graph::{Graph, PathCounts};

/// A checked description of the fabric.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wiring {
    links: Vec<Link>,
    hosts: Vec<Host>,
    switches: Vec<Switch>,
    names: Names,
    /// Places in `hosts`.
    by_name: HashMap<HostName, usize>,
}

/// A host with the ToRs that its RNICs are cabled to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its name.
    pub name: HostName,
    /// Where its RNICs are.
    pub rnics: Rnics,
}

/// Where the RNICs of a host are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rnics {
    /// All of them under one ToR.
    All(TorId),
    /// Each under its own.
    Each(Vec<Rnic>),
}

/// An RNIC with the ToRs that it is cabled to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rnic {
    /// Its name on its host.
    pub device: DeviceName,
    /// One, or two and more for a bond.
    pub tors: Vec<TorId>,
}

impl Host {
    /// The ToRs of its RNICs, each once.
    pub fn tors(&self) -> BTreeSet<&TorId> {
        match &self.rnics {
            Rnics::All(tor) => BTreeSet::from([tor]),
            Rnics::Each(rnics) => rnics.iter().flat_map(|rnic| &rnic.tors).collect(),
        }
    }

    /// The ToRs of one of its RNICs, the first one first; none where the file does not know the RNIC.
    pub fn tors_of(&self, device: &DeviceName) -> &[TorId] {
        match &self.rnics {
            Rnics::All(tor) => std::slice::from_ref(tor),
            Rnics::Each(rnics) => rnics
                .iter()
                .find(|rnic| rnic.device == *device)
                .map_or(&[], |rnic| &rnic.tors),
        }
    }
}

/// Names of switches by what answers traces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names(HashMap<String, String>);

impl Names {
    /// The switch that answers so; what answers itself where no other name is known.
    pub fn of<'a>(&'a self, answers: &'a str) -> &'a str {
        self.0.get(answers).map_or(answers, String::as_str)
    }
}

/// An address in the one way in which traces write it; another name as it is.
fn canonical(address: &str) -> String {
    match address.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().to_string(),
        Err(_) => address.to_owned(),
    }
}

impl Wiring {
    /// The cables between switches; parallel ones as often as there are.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// The hosts, at least one.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// A host by its name.
    pub fn host(&self, name: &HostName) -> Option<&Host> {
        self.by_name.get(name).map(|at| &self.hosts[*at])
    }

    /// The switches with addresses.
    pub fn switches(&self) -> &[Switch] {
        &self.switches
    }

    /// The switches' names by their addresses.
    pub const fn names(&self) -> &Names {
        &self.names
    }

    /// The ToRs: what hosts and RNICs are cabled to.
    pub fn tors(&self) -> BTreeSet<&TorId> {
        self.hosts.iter().flat_map(Host::tors).collect()
    }

    /// Both ends of each cable.
    fn ends(&self) -> Vec<(&str, &str)> {
        let links = self.links.iter();
        links
            .map(|link| (link.a.as_str(), link.b.as_str()))
            .collect()
    }

    /// The switches and cables as a graph.
    pub fn graph(&self) -> Graph {
        Graph::new(&self.tors(), &self.ends())
    }

    /// The number of shortest paths from each ToR to each other one.
    pub fn paths(&self) -> PathCounts {
        PathCounts::new(&self.tors(), &self.ends())
    }
}

#[cfg(test)]
mod tests;
