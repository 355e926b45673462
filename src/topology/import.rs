//! Topology files from what people have: Slurm's `topology.conf` and tables of cables. What a source does not know is left out, and
//! said in [`Imported::notes`].

pub mod cables;
mod hostlist;
pub mod slurm;

use std::collections::{BTreeMap, BTreeSet};

use super::wiring::WiringError;
use super::wiring::file::{File, HostEntry, Link, RnicEntry};
use crate::id::check_name;

/// Names in one note; of more the number is told.
const MOST_NAMED: usize = 8;

/// A source that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// A line is wrong.
    #[error("line {line}: {why}")]
    Line {
        /// From 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// The whole is.
    #[error("{0}")]
    Whole(String),
    /// The file can be read, but its topology is not valid.
    #[error("the topology in the file is not valid")]
    Topology(#[from] WiringError),
}

impl ImportError {
    pub(super) fn line(line: usize, why: impl Into<String>) -> Self {
        Self::Line {
            line,
            why: why.into(),
        }
    }
}

/// A topology file that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The file, checked.
    pub file: File,
    /// What the source does not know, in sentences.
    pub notes: Vec<String>,
}

/// A name of the source.
pub(super) fn named(line: usize, what: &str, name: &str) -> Result<String, ImportError> {
    match check_name(name) {
        _ if name.is_empty() => Err(ImportError::line(line, format!("a {what} has no name"))),
        Ok(()) => Ok(name.to_owned()),
        Err(error) => Err(ImportError::line(
            line,
            format!("the name of a {what} {error}"),
        )),
    }
}

/// The first names, and how many there are more.
fn listed<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = names.len().saturating_sub(MOST_NAMED);
    let first: Vec<_> = names.take(MOST_NAMED).collect();
    match more {
        0 => first.join(", "),
        _ => format!("{} and {more} more", first.join(", ")),
    }
}

/// What a source says of hosts: their leaves, by device where it names devices.
#[derive(Debug, Default)]
struct Hosts(BTreeMap<String, BTreeMap<Option<String>, BTreeSet<String>>>);

impl Hosts {
    fn add(&mut self, host: &str, device: Option<&str>, leaf: &str) {
        let devices = self.0.entry(host.to_owned()).or_default();
        let leaves = devices.entry(device.map(str::to_owned)).or_default();
        leaves.insert(leaf.to_owned());
    }

    /// The hosts as the topology file has them. Hosts under several leaves of which no RNICs are named are left out.
    fn entries(&self, notes: &mut Vec<String>) -> Vec<HostEntry> {
        let (mut entries, mut open) = (Vec::new(), Vec::new());
        let mut has_devices = false;
        for (host, devices) in &self.0 {
            let leaves: BTreeSet<&String> = devices.values().flatten().collect();
            let only = leaves.first().filter(|_| leaves.len() == 1);
            if let Some(leaf) = only {
                entries.push(HostEntry::new(host, leaf.as_str()));
            } else if devices.contains_key(&None) {
                open.push(host.as_str());
            } else {
                has_devices = true;
                entries.push(HostEntry {
                    name: host.clone(),
                    tor: None,
                    rnics: Some(devices.iter().map(rnic).collect()),
                });
            }
        }
        if has_devices {
            notes.push(
                "RNICs of hosts under several leaves are named as the source names the hosts' ports: these must be the names of RDMA \
                 devices (mlx5_0), or agents are not recognised"
                    .to_owned(),
            );
        }
        if !open.is_empty() {
            notes.push(format!(
                "left out: hosts under several leaves, as the source does not say which RNIC is under which: {}; write each as \
                 {{\"name\":\"HOST\",\"rnics\":[{{\"device\":\"mlx5_0\",\"tor\":\"LEAF\"}},…]}}",
                listed(open.into_iter())
            ));
        }
        entries
    }
}

fn rnic((device, leaves): (&Option<String>, &BTreeSet<String>)) -> RnicEntry {
    let mut leaves: Vec<String> = leaves.iter().cloned().collect();
    let is_bond = leaves.len() > 1;
    RnicEntry {
        device: device.clone().unwrap_or_default(),
        tor: if is_bond { None } else { leaves.pop() },
        tors: is_bond.then_some(leaves),
    }
}

/// The file, if it is one.
fn checked(
    links: Vec<Link>,
    hosts: &Hosts,
    mut notes: Vec<String>,
) -> Result<Imported, ImportError> {
    let file = File {
        links,
        hosts: hosts.entries(&mut notes),
        switches: Vec::new(),
    };
    if file.hosts.is_empty()
        && let Some(why) = notes.pop()
    {
        return Err(ImportError::Whole(format!("no host is left: {why}")));
    }
    file.check()?;
    Ok(Imported { file, notes })
}

#[cfg(test)]
mod tests;
