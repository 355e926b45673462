//! One topology file for all programs: what one accepts all accept, what one refuses all refuse in the same words.

use std::fs;

use crate::support::program::{AGENT, ANALYZER, CONTROLLER, OPERATOR, refused};

/// Each with an observation that fits.
const GOOD: [(&str, &str); 5] = [
    (
        r#"{"links":[{"a":"l0","b":"s0"},{"a":"l1","b":"s0"}],
            "hosts":[{"name":"h0","tor":"l0"},{"name":"h1","tor":"l1"}]}"#,
        r#"{"src":"h0","dst":"h1","path":["h0","l0","s0","l1","h1"],"sent":9,"lost":0}"#,
    ),
    (
        r#"{"links":[{"a":"l0","b":"s0"},{"a":"l1","b":"s0"},{"a":"l0","b":"s0"}],
            "hosts":[{"name":"h0","rnics":[{"device":"m0","tor":"l0"},{"device":"b","tors":["l0","l1"]}]}]}"#,
        r#"{"src":"h0/m0","dst":"h0/b","path":["h0/m0","l0","h0/b"],"back":["h0/b","l1","s0","l0","h0/m0"],"sent":9,"lost":0}"#,
    ),
    // One ToR and no switches above it.
    (
        r#"{"links":[],"hosts":[{"name":"h0","tor":"l0"},{"name":"h1","tor":"l0"}]}"#,
        r#"{"src":"h0/m0","dst":"h1/m0","paths":[["h0/m0","l0","h1/m0"]],"sent":9,"lost":0}"#,
    ),
    // Two planes, and links of hosts that need not be there.
    (
        r#"{"links":[{"a":"l0","b":"s0"},{"a":"l1","b":"s1"},{"a":"h0","b":"l0"}],
            "hosts":[{"name":"h0","tor":"l0"},{"name":"h1","tor":"l0"},{"name":"h2","tor":"l1"}],
            "switches":[{"name":"s0","addresses":["10.2.0.2"]}]}"#,
        r#"{"src":"h0","dst":"h1","path":["h0","l0","h1"],"sent":9,"lost":0}"#,
    ),
    // As older files have it.
    (
        r#"{"links":[{"a":"l0","b":"s0"},{"a":"l1","b":"s0"}],
            "hosts":[{"name":"h0/m0","tor":"l0"},{"name":"h0/m1","tor":"l1"}]}"#,
        r#"{"src":"h0/m0","dst":"h0/m1","path":["h0/m0","l0","s0","l1","h0/m1"],"sent":9,"lost":0}"#,
    ),
];

const BAD: [&str; 7] = [
    "",
    r#"{"links":[]}"#,
    r#"{"links":[{"a":"l0","b":"l0"}],"hosts":[{"name":"h0","tor":"l0"}]}"#,
    r#"{"links":[],"hosts":[{"name":"h0","tor":"l0"},{"name":"h0","tor":"l1"}]}"#,
    r#"{"links":[{"a":"l0","b":"s0"}],"hosts":[{"name":"h0","rnics":[{"device":"m0","tor":"l9"}]}]}"#,
    r#"{"links":[{"a":"l0","b":"s0"}],"hosts":[{"name":"h0","rnics":[{"device":"m0","tors":["l0"]}]}]}"#,
    r#"{"links":[{"a":"l0","b":"s0"}],"hosts":[{"name":"h0","tor":"l0"}],"rails":8}"#,
];

/// Exit status of each program that reads the file, with what it says.
fn read(topology: &str, observations: &str) -> Vec<(Option<i32>, String)> {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let file = folder.path().join(name);
        fs::write(&file, text).expect("written");
        file.to_str().expect("UTF-8").to_owned()
    };
    let file = write("topology.json", topology);
    let observations = write("observations.jsonl", observations);
    let spool = folder.path().to_str().expect("UTF-8");
    let agent = [
        "check-config",
        "--transport",
        "none",
        "--spool-dir",
        spool,
        "--host",
        "h0",
        "--topology",
        &file,
    ];
    let said = [
        refused(AGENT, &agent),
        refused(ANALYZER, &["check-config", "--topology", &file]),
        refused(CONTROLLER, &["check-config", "--pinglist-topology", &file]),
        refused(
            OPERATOR,
            &[
                "localize",
                "--topology",
                &file,
                "--observations",
                &observations,
            ],
        ),
    ];
    said.map(|(status, text)| (status, text.replace(&file, "FILE")))
        .into()
}

#[test]
fn what_one_program_accepts_all_accept() {
    for (topology, observations) in GOOD {
        for (status, text) in read(topology, observations) {
            assert_eq!(status, Some(0), "{topology}: {text}");
        }
    }
}

#[test]
fn what_one_program_refuses_all_refuse_in_the_same_words() {
    for topology in BAD {
        let said = read(topology, "");
        // From the place on.
        let why = |text: &str| {
            let (_, why) = text.split_once("topology: ").unwrap_or_default();
            why.rsplit("topology: ").next().map(str::to_owned)
        };
        let first = why(&said[0].1);
        assert!(
            first.as_deref().is_some_and(|why| why.len() > 10),
            "{said:?}"
        );
        for (index, (status, text)) in said.iter().enumerate() {
            let expected = if index == 3 { 1 } else { 2 };
            assert_eq!(*status, Some(expected), "{topology}: {text}");
            assert!(text.contains("FILE"), "{text}");
            assert_eq!(why(text), first, "{said:#?}");
        }
    }
}
