//! The files with which people get a development environment without Nix: valid, and only what their tools know.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use clap::Parser as _;
use yaml_rust2::{Yaml, YamlLoader};

use crate::Command as Xtask;
use crate::cargo::workspace;
use crate::test::packages;

/// Top-level keys that the template uses; Lima's `templates/default.yaml` documents each.
const LIMA_KEYS: &[&str] = &[
    "containerd",
    "cpus",
    "disk",
    "images",
    "memory",
    "message",
    "minimumLimaVersion",
    "mounts",
    "probes",
    "provision",
];

/// Keys of the dev container specification that the file uses.
const CONTAINER_KEYS: &[&str] = &[
    "capAdd",
    "containerEnv",
    "customizations",
    "image",
    "mounts",
    "name",
    "postCreateCommand",
    "remoteUser",
    "securityOpt",
];

fn read(name: &str) -> String {
    fs::read_to_string(workspace().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn lima() -> Yaml {
    let text = read("lima/rpingmesh.yaml");
    let mut documents = YamlLoader::load_from_str(&text).expect("lima/rpingmesh.yaml is YAML");
    assert_eq!(documents.len(), 1, "one document");
    documents.remove(0)
}

fn text<'a>(value: &'a Yaml, key: &str) -> &'a str {
    value[key]
        .as_str()
        .unwrap_or_else(|| panic!("`{key}` is missing or no string in {value:?}"))
}

#[test]
fn the_lima_template_uses_known_keys_and_has_both_processors() {
    let template = lima();
    let keys: BTreeSet<&str> = template
        .as_hash()
        .expect("a map")
        .keys()
        .map(|key| key.as_str().expect("keys are strings"))
        .collect();
    assert_eq!(keys, LIMA_KEYS.iter().copied().collect());
    let images = template["images"].as_vec().expect("a list");
    let by_arch: Vec<_> = images
        .iter()
        .map(|image| (text(image, "arch"), text(image, "location")))
        .collect();
    for (arch, debian) in [("x86_64", "amd64"), ("aarch64", "arm64")] {
        assert!(
            by_arch
                .iter()
                .any(|(of, image)| *of == arch && image.ends_with(&format!("-{debian}.qcow2"))),
            "no image for {arch}"
        );
    }
}

#[test]
fn the_scripts_of_the_lima_template_are_shell() {
    let template = lima();
    let scripts: Vec<&str> = ["provision", "probes"]
        .iter()
        .flat_map(|list| template[*list].as_vec().expect("a list"))
        .map(|entry| text(entry, "script"))
        .collect();
    assert_eq!(scripts.len(), 3);
    for script in scripts {
        assert!(script.starts_with("#!/bin/bash\n"), "{script}");
        let run = Command::new("bash")
            .args(["-n", "-c", script])
            .output()
            .expect("bash runs");
        assert!(
            run.status.success(),
            "{}\n{script}",
            String::from_utf8_lossy(&run.stderr)
        );
    }
}

/// The developer commands in a text: from `cargo xtask` to a quote, a backtick or the end of the line.
fn developer_commands(text: &str) -> Vec<Xtask> {
    text.match_indices("cargo xtask ")
        .map(|(at, _)| {
            let rest = &text[at + "cargo ".len()..];
            let line = rest
                .split(['"', '\'', '`', '\n', '&'])
                .next()
                .unwrap_or(rest);
            Xtask::try_parse_from(line.split_whitespace())
                .unwrap_or_else(|error| panic!("`cargo {line}`: {error}"))
        })
        .collect()
}

#[test]
fn the_lima_template_has_what_guests_need_and_a_toolchain_for_both_users() {
    let template = lima();
    let provision = template["provision"].as_vec().expect("a list");
    let script = |mode: &str| {
        let entry = provision
            .iter()
            .find(|entry| text(entry, "mode") == mode)
            .unwrap_or_else(|| panic!("no provisioning in mode {mode}"));
        text(entry, "script")
    };
    let system: BTreeSet<&str> = script("system").split_whitespace().collect();
    for package in packages::for_guests() {
        assert!(system.contains(package), "{package} is not installed");
    }
    for mode in ["system", "user"] {
        assert!(script(mode).contains("rustup"), "{mode} has no rustup");
    }
    assert_eq!(developer_commands(text(&template, "message")).len(), 2);
}

#[test]
fn the_dev_container_runs_known_commands_and_mounts_the_target_folder() {
    let container: serde_json::Value =
        serde_json::from_str(&read(".devcontainer/devcontainer.json")).expect("JSON");
    let start = container["postCreateCommand"].as_str().expect("a command");
    assert_eq!(developer_commands(start).len(), 1, "{start}");
    let folder = container["containerEnv"]["CARGO_TARGET_DIR"]
        .as_str()
        .expect("a folder");
    let mount = container["mounts"][0].as_str().expect("a mount");
    assert!(mount.contains(&format!("target={folder},")), "{mount}");
}

/// Whether a subcommand needs neither apt nor the Linux kernel.
fn works_on_a_mac(command: &Xtask) -> bool {
    match command {
        Xtask::Bench(_) | Xtask::Fuzz(_) | Xtask::Picture(_) | Xtask::Test(_) => true,
        Xtask::Coverage(_)
        | Xtask::Cross(_)
        | Xtask::Demo(_)
        | Xtask::Dist(_)
        | Xtask::Ebpf(_)
        | Xtask::Flake(_)
        | Xtask::Vm(_) => false,
    }
}

#[test]
fn the_table_of_the_mac_page_has_only_commands_that_work_there() {
    let page = read("docs/macos.md");
    let rows: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("| ") && line.contains('`'))
        .collect();
    let (mac, lima): (Vec<&str>, Vec<&str>) =
        rows.iter().partition(|line| line.contains("| the Mac |"));
    assert!(mac.len() > 3 && !lima.is_empty(), "{page}");
    for line in lima {
        assert!(line.contains("| the Lima machine |"), "where? {line}");
    }
    for line in mac {
        assert!(
            developer_commands(line).iter().all(works_on_a_mac),
            "needs Linux: {line}"
        );
    }
}

#[test]
fn the_dev_container_is_json_with_known_keys() {
    let file = ".devcontainer/devcontainer.json";
    let container: serde_json::Value =
        serde_json::from_str(&read(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    let keys: BTreeSet<&str> = container
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(keys, CONTAINER_KEYS.iter().copied().collect());
}
