//! `rpingmesh simulate` and `rpingmesh localize` from end to end, as a person uses them.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::support::program::{OPERATOR, command, refused};

/// A leaf-spine that is quick to draw.
const SMALL: [&str; 6] = ["--spines", "4", "--tors", "8", "--hosts", "4"];

fn run(arguments: &[&str]) -> String {
    let output = command(OPERATOR, arguments).output().expect("it runs");
    let Output {
        status,
        stdout,
        stderr,
    } = output;
    assert!(
        status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&stderr)
    );
    String::from_utf8(stdout).expect("text")
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&run(arguments)).expect("one JSON object")
}

fn file(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().expect("UTF-8").to_owned()
}

fn generate(folder: &Path, more: &[&str]) {
    let out = folder.to_str().expect("UTF-8");
    run(&[&["simulate", "generate", "--out", out], &SMALL[..], more].concat());
}

fn localize(folder: &Path, more: &[&str]) -> Vec<String> {
    let (topology, observations) = (
        file(folder, "topology.json"),
        file(folder, "observations.jsonl"),
    );
    let common = [
        "localize",
        "--topology",
        &topology,
        "--observations",
        &observations,
    ];
    [&common[..], more]
        .concat()
        .into_iter()
        .map(str::to_owned)
        .collect()
}

fn words(line: &[String]) -> Vec<&str> {
    line.iter().map(String::as_str).collect()
}

#[test]
fn several_kinds_of_faults_are_found_and_scored() {
    let folder = tempfile::tempdir().expect("a folder");
    generate(
        folder.path(),
        &[
            "--fault",
            "link tor0->spine1 loss=1%",
            "--fault",
            "link tor5->h20 loss=3%",
            "--fault",
            "switch spine3 loss=2%",
            "--fault",
            "host h9 loss=5%",
            "--fault",
            "switch spine2 blackhole=20%",
        ],
    );
    let answer = run(&words(&localize(folder.path(), &["--json"])));
    let answer_file = folder.path().join("answer.json");
    fs::write(&answer_file, &answer).expect("written");
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    let symptoms: Vec<&Value> = answer["suspects"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|suspect| suspect["name"] == "spine2")
        .map(|suspect| &suspect["symptom"])
        .collect();
    assert_eq!(symptoms, ["blackhole"]);
    let (truth, answer_file) = (
        file(folder.path(), "truth.json"),
        file(folder.path(), "answer.json"),
    );
    let compare = [
        "simulate",
        "score",
        "--truth",
        &truth,
        "--answer",
        &answer_file,
    ];
    let score = json(&[&compare[..], &["--json"]].concat());
    assert_eq!(score["f1"], 1.0, "{score}");
    insta::assert_snapshot!("localize_score", run(&compare));
}

#[test]
fn people_read_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let faults = [
        "--fault",
        "link tor0->spine1 loss=1%",
        "--fault",
        "blackhole spine2 loss=20%",
    ];
    generate(folder.path(), &faults);
    insta::assert_snapshot!("localize_text", run(&words(&localize(folder.path(), &[]))));
    let answer = json(&words(&localize(
        folder.path(),
        &["--json", "--window", "20s"],
    )));
    insta::assert_snapshot!(
        "localize_json",
        serde_json::to_string_pretty(&answer).expect("JSON")
    );
}

#[test]
fn without_traces_the_answer_says_what_looks_alike() {
    let folder = tempfile::tempdir().expect("a folder");
    generate(
        folder.path(),
        &["--candidates", "--fault", "link tor0->spine1 loss=5%"],
    );
    let answer = json(&words(&localize(folder.path(), &["--json"])));
    let suspect = &answer["suspects"][0];
    let named = suspect["or"].as_array().expect("alternatives").iter();
    let named: Vec<&Value> = named.chain([suspect]).collect();
    assert!(
        named
            .iter()
            .any(|link| link["from"] == "tor0" && link["to"] == "spine1"),
        "{answer}"
    );
}

#[test]
fn a_healthy_fabric_has_no_suspects() {
    let folder = tempfile::tempdir().expect("a folder");
    generate(folder.path(), &[]);
    let text = run(&words(&localize(folder.path(), &[])));
    assert!(text.contains("no suspects"), "{text}");
}

#[test]
fn bad_files_and_arguments_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    generate(folder.path(), &[]);
    let observations = file(folder.path(), "observations.jsonl");
    let good = fs::read_to_string(&observations).expect("read");
    let good = good.lines().next().expect("a line");
    let mut texts = Vec::new();
    let mut refuse = |arguments: &[&str], status: i32| {
        let (code, text) = refused(OPERATOR, arguments);
        assert_eq!(code, Some(status), "{arguments:?}: {text}");
        let here = format!("{}/", folder.path().display());
        texts.push(text.replace(&here, ""));
    };
    let with = |line: &str| fs::write(&observations, format!("{good}\n\n{line}\n")).expect("write");
    let other_window = good.replace("\"window_s\":20", "\"window_s\":5");
    let overflow = good.replace("\"sent\":", "\"sent\":99999999999999999999,\"s\":");
    for line in ["{\"src\":", "[]", "\u{0}", &other_window, &overflow] {
        with(line);
        refuse(&words(&localize(folder.path(), &[])), 1);
    }
    fs::write(&observations, [0xff, 0xfe, 0x0a]).expect("write");
    refuse(&words(&localize(folder.path(), &[])), 1);
    fs::write(&observations, "").expect("write");
    refuse(&words(&localize(folder.path(), &[])), 1);
    fs::write(&observations, good).expect("write");
    refuse(&words(&localize(folder.path(), &["--window", "5s"])), 1);
    fs::write(folder.path().join("topology.json"), "").expect("write");
    refuse(&words(&localize(folder.path(), &[])), 1);
    fs::remove_file(folder.path().join("topology.json")).expect("removed");
    refuse(&words(&localize(folder.path(), &[])), 1);
    let out = file(folder.path(), "out");
    for fault in [
        "link",
        "cable loss=1%",
        "link a loss=1%",
        "link loss=2%..1%",
        "host loss=200%",
        "link delay=5us",
        "link loss=1% at=5s",
        "switch loss=1% blackhole=2%",
        "link count=some loss=1%",
        "link tor0->spine9 loss=1%",
    ] {
        refuse(
            &["simulate", "generate", "--out", &out, "--fault", fault],
            2,
        );
    }
    refuse(
        &[
            "simulate",
            "generate",
            "--out",
            &out,
            "--fault",
            "switch nowhere loss=1%",
        ],
        2,
    );
    refuse(
        &["simulate", "generate", "--out", &out, "--fat-tree", "7"],
        2,
    );
    insta::assert_snapshot!("localize_bad_input", texts.join("-----\n"));
}

#[test]
fn help_is_as_documented() {
    for (name, arguments) in [
        ("localize_help", vec!["localize", "--help"]),
        ("simulate_help", vec!["simulate", "--help"]),
        (
            "simulate_generate_help",
            vec!["simulate", "generate", "--help"],
        ),
        ("simulate_score_help", vec!["simulate", "score", "--help"]),
    ] {
        insta::assert_snapshot!(name, run(&arguments));
    }
}
