//! `rpingmesh topology import`: what it writes is read by the other commands.

use crate::support::program::{OPERATOR, command};

/// Exit status, standard output, standard error.
fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = command(OPERATOR, arguments).output().expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn what_is_imported_can_be_planned() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("plain").to_owned();
    let (table, made) = (path("cables.csv"), path("topology.json"));
    let cables =
        "a,a_port,b,b_port\nleaf0,1,spine0,1\nleaf1,1,spine0,2\nn0,e0,leaf0,9\nn1,e0,leaf1,9\n";
    std::fs::write(&table, cables).expect("written");
    let (code, out, err) = run(&[
        "topology", "import", "--from", "csv", "--host", "n*", &table,
    ]);
    assert_eq!(code, Some(0), "{err}");
    insta::assert_snapshot!(format!("{out}--\n{err}"));
    std::fs::write(&made, out).expect("written");
    let (code, out, err) = run(&["plan", "--topology", &made]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("2 hosts with 2 RNICs under 2 ToRs"), "{out}");
}

#[test]
fn what_cannot_be_imported_is_named_with_file_and_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("topology.conf");
    std::fs::write(&file, "SwitchName=s0 Nodes=a[0-\n").expect("written");
    let file = file.to_str().expect("plain");
    let (code, out, err) = run(&["topology", "import", "--from", "slurm", file]);
    assert_eq!((code, &*out), (Some(1), ""));
    assert!(
        err.contains(file) && err.contains("line 1: Nodes: `a[0-`"),
        "{err}"
    );
    let (code, _, err) = run(&["topology", "import", "--from", "slurm", "/nowhere"]);
    assert_eq!(code, Some(1), "{err}");
}
