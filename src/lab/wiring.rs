//! The emulated fabric's cables, as an operator would describe them to controller and analyzer.

use crate::fabric::Topology;
use crate::topology::wiring::{Host, Link, Wiring};

/// All cables between switches, and every host with its ToR.
pub fn of(topology: &Topology) -> Wiring {
    let links = topology
        .links()
        .step_by(2)
        .filter(|link| !topology.is_host_link(*link))
        .map(|link| {
            let (a, b) = topology.ends(link);
            Link {
                a: topology.node_name(a).to_owned(),
                b: topology.node_name(b).to_owned(),
            }
        })
        .collect();
    let hosts = (0..)
        .zip(topology.hosts())
        .filter_map(|(number, name)| {
            let rnic = topology.rnics_of(number).next()?;
            Some(Host {
                name: name.to_string(),
                tor: topology.rnic(rnic).tor.to_string(),
            })
        })
        .collect();
    Wiring {
        links,
        hosts,
        switches: Vec::new(),
    }
}
