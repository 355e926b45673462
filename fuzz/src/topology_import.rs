//! Any text as topology.conf and as a table of cables: an error that says something, or a file that every program reads.

use rpingmesh::topology::import::cables::{self, HostPatterns};
use rpingmesh::topology::import::slurm;
use rpingmesh::topology::wiring::Wiring;

/// Takes one input.
pub fn run(text: &str) {
    let hosts = HostPatterns::new(["n*".to_owned()]);
    for imported in [slurm::import(text), cables::import(text, &hosts)] {
        match imported {
            Ok(imported) => {
                let written = serde_json::to_string(&imported.file).expect("it can be written");
                Wiring::parse(&written).expect("what is written can be read");
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}
