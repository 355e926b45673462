//! `rpingmesh plan`: what pinglists cost and cover, from a topology file alone.

use std::fmt::Write as _;

use crate::support::program::{OPERATOR, command};

fn plan(topology: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("topology.json");
    std::fs::write(&file, topology).expect("written");
    let file = file.to_str().expect("a plain path");
    let arguments = [&["plan", "--topology", file], arguments].concat();
    let output = command(OPERATOR, &arguments).output().expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).expect("text").replace(file, "FILE");
    (output.status.code(), text)
}

/// ToRs of so many hosts each under 4 spines.
fn clos(tors: usize, hosts: usize) -> String {
    let mut links = Vec::new();
    let mut all = Vec::new();
    for tor in 0..tors {
        links.extend((0..4).map(|spine| format!(r#"{{"a":"tor{tor}","b":"spine{spine}"}}"#)));
        all.extend(
            (0..hosts).map(|host| format!(r#"{{"name":"h{tor}-{host}","tor":"tor{tor}"}}"#)),
        );
    }
    format!(
        r#"{{"links":[{}],"hosts":[{}]}}"#,
        links.join(","),
        all.join(",")
    )
}

#[test]
fn small_large_and_in_planes() {
    let planes = r#"{"links":[{"a":"s0","b":"t0"},{"a":"s0","b":"t1"},{"a":"s1","b":"u0"},{"a":"s1","b":"u1"}],
        "hosts":[{"name":"h0","rnics":[{"device":"a","tor":"t0"},{"device":"b","tor":"u0"}]},
                 {"name":"h1","rnics":[{"device":"a","tor":"t1"},{"device":"b","tor":"u1"}]}]}"#;
    let mut text = String::new();
    for (name, topology, arguments) in [
        ("8 ToRs", clos(8, 8), &["--rnics-per-host", "2"][..]),
        ("40 ToRs", clos(40, 16), &["--rnics-per-host", "2"][..]),
        ("two planes", planes.to_owned(), &[]),
        (
            "without links",
            r#"{"links":[],"hosts":[{"name":"h0","tor":"t0"},{"name":"h1","tor":"t1"}]}"#
                .to_owned(),
            &[],
        ),
    ] {
        let (status, says) = plan(&topology, arguments);
        assert_eq!(status, Some(0), "{says}");
        let _ = write!(text, "# {name}\n{says}\n");
    }
    insta::assert_snapshot!(text);
}

#[test]
fn as_json() {
    let (status, text) = plan(&clos(8, 8), &["--json"]);
    assert_eq!(status, Some(0), "{text}");
    let answer: serde_json::Value = serde_json::from_str(&text).expect("one JSON object");
    assert_eq!(answer["tors"], 8);
    assert_eq!(answer["rnics"], 64);
    assert_eq!(answer["fewest_partners"], serde_json::Value::Null);
    assert_eq!(answer["tuples"], 8 * 7 * 21 + 64 * 7);
}

#[test]
fn bad_input_is_named() {
    let (status, text) = plan("{", &[]);
    assert_eq!(status, Some(2));
    assert!(
        text.contains("--topology: FILE: is not a topology"),
        "{text}"
    );
    let (status, text) = plan(&clos(2, 1), &["--pinglist-coverage", "2"]);
    assert_eq!(status, Some(2));
    assert!(text.contains("pinglist.coverage"), "{text}");
}
