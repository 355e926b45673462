//! The emulated fabric's cables, as an operator would describe them to controller and analyzer.

use crate::fabric::Topology;
use crate::fabric::topology::Rnic;
use crate::topology::wiring::file::{File, HostEntry, RnicEntry};
use crate::topology::wiring::{Link, Wiring, WiringError};

/// All cables between switches, and every host with the ToRs of its RNICs.
///
/// # Errors
/// What a topology file could not say either.
pub(crate) fn of(topology: &Topology) -> Result<Wiring, WiringError> {
    file(topology).check()
}

/// The same as it is written in a file.
pub(crate) fn file(topology: &Topology) -> File {
    let links = topology
        .links()
        .step_by(2)
        .filter(|link| !topology.is_host_link(*link))
        .map(|link| {
            let (a, b) = topology.ends(link);
            Link::new(topology.node_name(a), topology.node_name(b))
        })
        .collect();
    let hosts = (0..)
        .zip(topology.hosts())
        .map(|(number, name)| host(topology, number, name.as_str()))
        .collect();
    File {
        links,
        hosts,
        switches: Vec::new(),
    }
}

fn host(topology: &Topology, number: u32, name: &str) -> HostEntry {
    let rnics: Vec<_> = topology
        .rnics_of(number)
        .map(|rnic| topology.rnic(rnic))
        .collect();
    if let Some(first) = rnics.first()
        && rnics
            .iter()
            .all(|rnic| rnic.tor == first.tor && rnic.bonded.is_none())
    {
        return HostEntry::new(name, first.tor.as_str());
    }
    HostEntry {
        name: name.to_owned(),
        tor: None,
        rnics: Some(rnics.into_iter().map(entry).collect()),
    }
}

fn entry(rnic: &Rnic) -> RnicEntry {
    let device = rnic.device.to_string();
    let tor = rnic.tor.to_string();
    match &rnic.bonded {
        None => RnicEntry {
            device,
            tor: Some(tor),
            tors: None,
        },
        Some(second) => RnicEntry {
            device,
            tor: None,
            tors: Some(vec![tor, second.to_string()]),
        },
    }
}

#[cfg(test)]
mod tests;
