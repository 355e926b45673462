//! The import rule between the library's floors, and the places where `cfg(target_os)`, `unsafe` and generated types
//! may appear. Read from the sources as text, so that the rule holds for code of every platform.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The floors from the ground up. A module may use its own floor and those before it.
const FLOORS: &[(&str, &[&str])] = &[
    ("values", &["id", "time", "wire", "measure", "topology"]),
    ("logic", &["probe", "pinglist", "service", "analysis"]),
    (
        "edges",
        &[
            "transport",
            "hardware",
            "path_trace",
            "rpc",
            "api",
            "store",
            "telemetry",
            "config",
        ],
    ),
    ("fabric", &["fabric"]),
    ("roles", &["agent", "controller", "analyzer", "lab"]),
];

/// The one role that is made of the others.
const COMPOSER: &str = "lab";

/// The transport's types (addresses, requests, completions) are the vocabulary of the probe logic; only its
/// implementations do I/O. `transport` itself, without its children, therefore counts as values.
const VOCABULARY: &str = "transport";

/// Files that may name an operating system in a `cfg`, and only on the line before a `mod`.
/// The agent splits off its leaves (verbs, tracer); the user-space transport splits off the socket options and time
/// stamps that Linux and macOS do not share, which no run-time question can replace because their constants exist on one
/// side only.
const PLATFORM_SPLITS: &[&str] = &[
    "src/bin/rpingmesh-agent/main.rs",
    "src/transport/userspace/socket.rs",
];

fn floor(module: &str) -> Option<usize> {
    FLOORS
        .iter()
        .position(|(_, modules)| modules.contains(&module))
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("readable entry").path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Lines of code with their numbers, without comments.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| {
        let code = line.find("//").map_or(line, |comment| &line[..comment]);
        (index + 1, code)
    })
}

/// Paths below the crate root that a line names: `crate::a::b` and the members of `crate::{a, b}`.
fn crate_paths(line: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        if line[..at].ends_with('$') {
            continue;
        }
        let rest = &line[at + "crate::".len()..];
        if let Some(list) = rest.strip_prefix('{') {
            let list = list.split('}').next().unwrap_or(list);
            paths.extend(list.split(',').map(|path| path.trim().to_owned()));
        } else {
            let end = rest
                .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
                .unwrap_or(rest.len());
            paths.push(rest[..end].to_owned());
        }
    }
    paths
}

fn module_of(file: &Path) -> Option<String> {
    let relative = file.strip_prefix(root().join("src")).ok()?;
    let first = relative.components().next()?.as_os_str().to_str()?;
    let module = first.trim_end_matches(".rs");
    (!matches!(module, "lib" | "bin")).then(|| module.to_owned())
}

fn forbidden(from: &str, path: &str) -> Option<String> {
    let mut parts = path.split("::");
    let to = parts.next().unwrap_or_default();
    if to == from || to == "layer" {
        return None;
    }
    let names_a_child = parts
        .next()
        .is_some_and(|part| part.starts_with(char::is_lowercase));
    if to == VOCABULARY && !names_a_child {
        return None;
    }
    let (Some(from_floor), Some(to_floor)) = (floor(from), floor(to)) else {
        return Some(format!("`{to}` is on no floor: add it to FLOORS"));
    };
    let roles = FLOORS.len() - 1;
    if to_floor > from_floor {
        Some(format!(
            "`{from}` ({}) uses `{to}` ({})",
            FLOORS[from_floor].0, FLOORS[to_floor].0
        ))
    } else if from_floor == roles && to_floor == roles && from != COMPOSER {
        Some(format!("role `{from}` uses role `{to}`"))
    } else {
        None
    }
}

#[test]
fn floors_use_only_floors_above_them() {
    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    let mut faults = BTreeSet::new();
    for file in &files {
        let Some(module) = module_of(file) else {
            continue;
        };
        let text = fs::read_to_string(file).expect("source file");
        for (number, line) in code_lines(&text) {
            for path in crate_paths(line) {
                if let Some(fault) = forbidden(&module, &path) {
                    faults.insert(format!("{}:{number}: {fault}", file.display()));
                }
            }
        }
    }
    assert!(files.len() > 5, "the sources were not found");
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn the_rule_catches_what_it_must() {
    assert!(forbidden("probe", "agent::run").is_some());
    assert!(forbidden("probe", "transport::userspace::Socket").is_some());
    assert!(forbidden("probe", "transport::Completion").is_none());
    assert!(forbidden("agent", "controller::Registry").is_some());
    assert!(forbidden("lab", "controller::Registry").is_none());
    assert!(forbidden("wire", "probe::Prober").is_some());
    assert!(forbidden("agent", "nowhere::X").is_some());
    assert_eq!(
        crate_paths("use crate::{id::Gid, time}; let x = crate::probe::X::new();"),
        ["id::Gid", "time", "probe::X::new"]
    );
}

#[test]
fn systems_are_named_only_where_the_leaves_begin() {
    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    let mut faults = Vec::new();
    for file in &files {
        let text = fs::read_to_string(file).expect("source file");
        let lines: Vec<_> = code_lines(&text).collect();
        let relative = file.strip_prefix(root()).expect("below the root");
        let allowed = PLATFORM_SPLITS
            .iter()
            .any(|split| relative == Path::new(split));
        for (index, (number, line)) in lines.iter().enumerate() {
            if ![
                "target_os",
                "cfg(unix",
                "cfg!(unix",
                "target_vendor",
                "target_family",
            ]
            .iter()
            .any(|word| line.contains(word))
            {
                continue;
            }
            let splits_a_module = lines[index + 1..]
                .iter()
                .find(|(_, next)| !next.trim().is_empty() && !next.trim().starts_with("#["))
                .is_some_and(|(_, next)| next.contains("mod "));
            if !(allowed && splits_a_module) {
                faults.push(format!("{}:{number}: {}", relative.display(), line.trim()));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn generated_types_stay_in_rpc_and_the_roles() {
    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    let roles = FLOORS[FLOORS.len() - 1].1;
    let faults: Vec<_> = files
        .iter()
        .filter(|file| {
            module_of(file).is_some_and(|module| module != "rpc" && !roles.contains(&&*module))
        })
        .filter(|file| {
            fs::read_to_string(file)
                .expect("source file")
                .contains("rpc::v1")
        })
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn unsafe_code_is_allowed_only_in_the_verbs_leaf() {
    // The last is libibverbs from the other side, a C interface like the one that the leaf calls; it is for tests only.
    let allowed = [
        "src/bin/rpingmesh-agent/verbs",
        "tests/emulated-rnic/src/lib.rs",
    ];
    let mut files = Vec::new();
    for folder in ["src", "tests", "xtask/src"] {
        rust_files(&root().join(folder), &mut files);
    }
    let faults: Vec<_> = files
        .iter()
        .filter(|file| **file != root().join(file!()))
        .filter(|file| {
            !allowed
                .iter()
                .any(|place| file.starts_with(root().join(place)))
        })
        .filter(|file| {
            let text = fs::read_to_string(file).expect("source file");
            code_lines(&text).any(|(_, line)| {
                line.contains("allow(unsafe_code") || line.contains("expect(unsafe_code")
            })
        })
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

/// docs/architecture.md shows the floors: the same modules in the same order.
#[test]
fn the_documents_table_of_floors_is_true() {
    let text = fs::read_to_string(root().join("docs/architecture.md")).expect("readable document");
    let shown: Vec<(&str, Vec<&str>)> = text
        .lines()
        .skip_while(|line| *line != "| floor | modules | holds |")
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let modules = cells[2].split(' ').map(|name| name.trim_matches('`'));
            (cells[1], modules.collect())
        })
        .collect();
    let real: Vec<(&str, Vec<&str>)> = FLOORS
        .iter()
        .map(|(floor, modules)| (*floor, modules.to_vec()))
        .collect();
    assert_eq!(shown, real);
}
