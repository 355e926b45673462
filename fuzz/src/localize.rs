//! Any text as a topology and as observations of it, with a 0 byte between: errors, no panics; what is read is judged.

use rpingmesh::analysis::localize::answer::Answer;
use rpingmesh::analysis::localize::files::{Topology, read_observations};
use rpingmesh::analysis::localize::{Settings, localize};

/// Two hosts, so that observations alone get far as well.
const SMALL: &str = r#"{"links":[{"a":"t","b":"s"},{"a":"u","b":"s"}],"hosts":[{"name":"a","tor":"t"},{"name":"b","tor":"u"}]}"#;

/// Takes one input.
pub fn run(text: &str) {
    let (first, lines) = text.split_once('\0').unwrap_or((SMALL, text));
    let Ok(topology) = Topology::parse(first) else {
        return;
    };
    topology.candidates("a", "b", 64);
    if let Ok(problem) = read_observations(&topology, lines, None) {
        let answer = Answer::new(&problem, localize(&problem, &Settings::default()));
        for explained in &answer.suspects {
            assert!(
                (0.0..=1.0).contains(&explained.suspect.confidence),
                "{answer:?}"
            );
        }
    }
}
