//! The fabric of the benchmarks with 100 000 RNICs: pods of 64 hosts with a leaf per rail.

use rpingmesh::topology::wiring::file::{File, HostEntry, RnicEntry};
use rpingmesh::topology::wiring::{Link, Wiring};

pub(crate) const RAILS: usize = 8;
pub(crate) const SPINES: usize = 16;
const HOSTS_PER_POD: usize = 64;

/// The leaf of a rail in a pod.
pub(crate) fn leaf(pod: usize, rail: usize) -> String {
    format!("leaf{pod}-r{rail}")
}

/// So many hosts; `spine` names the spine with a number that a leaf of a rail is cabled to.
pub(crate) fn rails(hosts: usize, spine: impl Fn(usize, usize) -> String) -> Wiring {
    let mut links = Vec::new();
    for pod in 0..hosts.div_ceil(HOSTS_PER_POD) {
        for rail in 0..RAILS {
            links.extend((0..SPINES).map(|at| Link::new(leaf(pod, rail), spine(rail, at))));
        }
    }
    let host = |host: usize| HostEntry {
        name: format!("host{host}"),
        tor: None,
        rnics: Some(
            (0..RAILS)
                .map(|rail| RnicEntry {
                    device: format!("mlx5_{rail}"),
                    tor: Some(leaf(host / HOSTS_PER_POD, rail)),
                    tors: None,
                })
                .collect(),
        ),
    };
    let file = File {
        links,
        hosts: (0..hosts).map(host).collect(),
        switches: Vec::new(),
    };
    file.check().expect("a sound file")
}
