//! Any text as a fault of the emulated fabric; what parses is printed so that it parses to the same.

use rpingmesh::fault::Fault;

/// Takes one input.
pub fn run(text: &str) {
    if let Ok(fault) = text.parse::<Fault>() {
        let printed = fault.to_string();
        assert_eq!(
            printed.parse::<Fault>().ok(),
            Some(fault),
            "{text} became {printed}"
        );
    }
}
