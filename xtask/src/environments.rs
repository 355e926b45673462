//! The files with which people get a development environment without Nix: valid, and only what their tools know.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use yaml_rust2::{Yaml, YamlLoader};

use crate::cargo::workspace;

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
