//! Any text as what lldpd prints: an error that says something, or switches whose names can be shown.

use rpingmesh::id::check_name;
use rpingmesh::topology::lldp::Neighbours;

/// Takes one input.
pub fn run(text: &str) {
    match Neighbours::parse(text) {
        Ok(neighbours) => {
            for interface in neighbours.interfaces() {
                match neighbours.at(interface) {
                    Ok(tor) => {
                        assert!(check_name(tor.as_str()).is_ok() && !tor.as_str().is_empty());
                    }
                    Err(error) => assert!(!error.to_string().is_empty()),
                }
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
