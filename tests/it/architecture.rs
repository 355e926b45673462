//! The import rule between the library's floors, circles between modules and files, and the places where
//! `cfg(target_os)`, `unsafe` and generated types may appear. Read from the sources as text, so that the rule holds for
//! code of every platform.

mod graph;
mod source;
mod tests;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use graph::{Graph, Source, Use, circles, module_path};

/// The floors from the ground up. A module may use its own floor and those before it.
const FLOORS: &[(&str, &[&str])] = &[
    (
        "values",
        &[
            "id", "error", "time", "wire", "measure", "topology", "fault",
        ],
    ),
    (
        "logic",
        &["probe", "pinglist", "service", "analysis", "cluster_key"],
    ),
    (
        "edges",
        &[
            "transport",
            "hardware",
            "path_trace",
            "net",
            "rpc",
            "api",
            "store",
            "telemetry",
            "config",
            "supervisor",
            "events",
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

fn module_of(file: &Path) -> Option<String> {
    let relative = file.strip_prefix(root().join("src")).ok()?;
    let first = relative.components().next()?.as_os_str().to_str()?;
    let module = first.trim_end_matches(".rs");
    (!matches!(module, "lib" | "bin")).then(|| module.to_owned())
}

/// The sources of the library and of the programs.
fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    assert!(files.len() > 5, "the sources were not found");
    files
        .iter()
        .map(|file| Source {
            file: file
                .strip_prefix(root())
                .expect("below the root")
                .to_str()
                .expect("UTF-8")
                .to_owned(),
            text: fs::read_to_string(file).expect("source file"),
        })
        .collect()
}

/// The library's module that a file belongs to; `None` for lib.rs and the programs.
fn top(file: &str) -> Option<String> {
    let path = module_path(file);
    (path[0] == graph::LIBRARY)
        .then(|| path.get(1).cloned())
        .flatten()
}

/// The vocabulary stands apart from its module's other files.
fn node(file: &str) -> Option<String> {
    if file == format!("src/{VOCABULARY}.rs") {
        return Some(format!("{VOCABULARY}.rs"));
    }
    top(file)
}

fn forbidden(from: &str, to: &str, to_vocabulary: bool) -> Option<String> {
    if to == from || to_vocabulary {
        return None;
    }
    let (Some(from_floor), Some(to_floor)) = (floor(from), floor(to)) else {
        return Some(format!(
            "`{from}` uses `{to}`, and one is on no floor: add it to FLOORS"
        ));
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

/// What a use breaks, if it breaks the rule.
fn fault(found: &Use) -> Option<String> {
    let (from, to) = (top(&found.from)?, top(&found.to)?);
    let why = forbidden(&from, &to, found.to == format!("src/{VOCABULARY}.rs"))?;
    Some(format!(
        "{}:{}: {why}: {}",
        found.from, found.line, found.path
    ))
}

#[test]
fn floors_use_only_floors_above_them() {
    let graph = Graph::read(&sources(), true);
    let faults: Vec<_> = graph.uses().iter().filter_map(fault).collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn every_module_of_the_library_has_its_floor() {
    let placed: BTreeSet<_> = FLOORS
        .iter()
        .flat_map(|(_, modules)| modules.iter().map(|module| (*module).to_owned()))
        .collect();
    assert_eq!(Graph::read(&sources(), false).library_modules(), placed);
}

/// Circles, each with the uses that make it, one for each pair of files.
fn described(uses: &BTreeSet<Use>, name: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let edges = uses
        .iter()
        .filter_map(|found| Some((name(&found.from)?, name(&found.to)?)))
        .filter(|(from, to)| from != to)
        .collect();
    circles(&edges)
        .into_iter()
        .map(|circle| {
            let inside = |file: &str| name(file).is_some_and(|node| circle.contains(&node));
            let mut told = BTreeSet::new();
            let made_by: Vec<_> = uses
                .iter()
                .filter(|found| name(&found.from) != name(&found.to))
                .filter(|found| inside(&found.from) && inside(&found.to))
                .filter(|found| told.insert((&found.from, &found.to)))
                .map(|found| {
                    format!(
                        "  {}:{} uses {}: {}",
                        found.from, found.line, found.to, found.path
                    )
                })
                .collect();
            format!("{}\n{}", circle.join(" "), made_by.join("\n"))
        })
        .collect()
}

#[test]
fn modules_form_no_circle() {
    let uses = Graph::read(&sources(), false).uses();
    let found = described(&uses, node);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// A module that only hands on what its children define (`pub use`) is in no circle with them.
#[test]
fn files_form_no_circle() {
    let mut uses = Graph::read(&sources(), false).uses();
    uses.retain(|found| !found.re_export);
    let found = described(&uses, |file| Some(file.to_owned()));
    assert!(found.is_empty(), "{}", found.join("\n"));
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

/// Callers of a store must not see which engine it has.
#[test]
fn only_the_engine_names_its_database() {
    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    let names_it: Vec<_> = files
        .iter()
        .filter(|file| {
            let text = fs::read_to_string(file).expect("source file");
            code_lines(&text).any(|(_, line)| line.contains("rusqlite"))
        })
        .map(|file| file.strip_prefix(root()).expect("below the root"))
        .collect();
    let (engine, others): (Vec<&Path>, Vec<&Path>) = names_it.into_iter().partition(|file| {
        file.starts_with("src/store/sqlite") || file == &Path::new("src/store/sqlite.rs")
    });
    assert!(engine.len() > 4, "the engine was not found: {engine:?}");
    assert!(others.is_empty(), "{others:#?}");
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
