//! How switches, hosts and RNICs are cabled, as the topology file says it, and how many equal-cost paths that gives
//! between ToRs.
//!
//! There is one file format and one parser for all programs: [`Wiring::parse`]. The file as it is written is
//! [`file::File`]; a [`Wiring`] has been checked, so that what uses it need not check again.

mod error;
pub mod file;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;

use crate::id::{DeviceName, HostName, TorId};

pub use error::WiringError;
pub use file::{Link, Switch};

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

    /// The number of shortest paths from each ToR to each other one; pairs without a path are absent.
    pub fn paths(&self) -> HashMap<(TorId, TorId), u32> {
        let tors = self.tors();
        let mut neighbours: HashMap<&str, Vec<&str>> = HashMap::new();
        for link in &self.links {
            neighbours.entry(&link.a).or_default().push(&link.b);
            neighbours.entry(&link.b).or_default().push(&link.a);
        }
        let mut paths = HashMap::new();
        for source in &tors {
            let reached = shortest_paths(source.as_str(), &neighbours);
            for target in tors.iter().filter(|target| *target != source) {
                if let Some((_, count)) = reached.get(target.as_str()) {
                    paths.insert(((*source).clone(), (*target).clone()), *count);
                }
            }
        }
        paths
    }
}

/// Distance and number of shortest paths from `source` to everything that it reaches.
fn shortest_paths<'a>(
    source: &'a str,
    neighbours: &HashMap<&'a str, Vec<&'a str>>,
) -> HashMap<&'a str, (u32, u32)> {
    let mut reached = HashMap::from([(source, (0, 1))]);
    let mut queue = VecDeque::from([source]);
    while let Some(node) = queue.pop_front() {
        let (distance, paths): (u32, u32) = reached[node];
        for next in neighbours.get(node).into_iter().flatten() {
            match reached.get_mut(next) {
                None => {
                    reached.insert(next, (distance + 1, paths));
                    queue.push_back(next);
                }
                Some((at, count)) if *at == distance + 1 => *count = count.saturating_add(paths),
                Some(_) => {}
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests;
