//! Any text as the topology file of all programs: no panic, the paths of each pair of its ToRs are known, and what was read is read again
//! from what is written of it.

use rpingmesh::topology::wiring::Wiring;
use rpingmesh::topology::wiring::file::File;

/// Takes one input.
pub fn run(text: &str) {
    let Ok(wiring) = Wiring::parse(text) else {
        return;
    };
    let (paths, tors) = (wiring.paths(), wiring.tors());
    let known = |source| {
        tors.iter()
            .all(|target| paths.between(source, target).is_some())
    };
    assert!(tors.iter().all(|source| known(source)), "{text}");
    for host in wiring.hosts() {
        assert!(!host.tors().is_empty(), "{text}");
    }
    let file: File = serde_json::from_str(text).expect("it was read");
    let written = serde_json::to_string(&file).expect("JSON");
    assert_eq!(Wiring::parse(&written).as_ref(), Ok(&wiring));
}
