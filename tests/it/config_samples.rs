//! The sample configurations under docs/config: each parses, lists every key, and shows the default of each.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use clap::{Args, Command};
use rpingmesh::config::agent::AgentSettings;
use rpingmesh::config::analyzer::AnalyzerSettings;
use rpingmesh::config::controller::ControllerSettings;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The sample as it is, and with its commented keys put in force.
fn sample(name: &str) -> (String, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs/config")
        .join(name);
    let text =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let in_force = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(key)
                if key.starts_with(|first: char| first.is_ascii_lowercase())
                    && key.contains(" = ") =>
            {
                key
            }
            _ => line,
        })
        .collect::<Vec<_>>()
        .join("\n");
    (text, in_force)
}

/// Keys as flags are called: `pinglist.link_rate` is `pinglist-link-rate`.
fn keys(prefix: &str, table: &toml::Table, found: &mut BTreeSet<String>) {
    for (key, value) in table {
        let name = format!("{prefix}{}", key.replace('_', "-"));
        match value {
            toml::Value::Table(table) => keys(&format!("{name}-"), table, found),
            _ => {
                found.insert(name);
            }
        }
    }
}

fn flags<S: Args>() -> BTreeSet<String> {
    let command = S::augment_args(Command::new("sample"));
    command
        .get_arguments()
        .filter_map(|argument| argument.get_long().map(str::to_owned))
        .collect()
}

/// Values of `defaults` that differ in `sample`.
fn differences(
    prefix: &str,
    sample: &toml::Table,
    defaults: &toml::Table,
    found: &mut Vec<String>,
) {
    for (key, default) in defaults {
        match (sample.get(key), default) {
            (Some(toml::Value::Table(sample)), toml::Value::Table(default)) => {
                differences(&format!("{prefix}{key}."), sample, default, found);
            }
            (Some(value), default) if value == default => {}
            (value, default) => {
                found.push(format!("{prefix}{key}: {value:?}, default {default:?}"));
            }
        }
    }
}

fn check<S: Args + DeserializeOwned + Serialize>(name: &str, defaults: &S) {
    let (text, in_force) = sample(name);
    toml::from_str::<S>(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    toml::from_str::<S>(&in_force).unwrap_or_else(|error| panic!("{name} with all keys: {error}"));
    let table: toml::Table = toml::from_str(&in_force).expect("TOML");
    let mut listed = BTreeSet::new();
    keys("", &table, &mut listed);
    assert_eq!(listed, flags::<S>(), "{name} lists every key");
    let mut wrong = Vec::new();
    let defaults = toml::Table::try_from(defaults).expect("defaults as TOML");
    differences("", &table, &defaults, &mut wrong);
    assert!(wrong.is_empty(), "{name}: {wrong:#?}");
}

#[test]
fn controller() {
    check(
        "controller.toml",
        &ControllerSettings::default().with_defaults(),
    );
}

#[test]
fn analyzer() {
    check(
        "analyzer.toml",
        &AnalyzerSettings::default().with_defaults(),
    );
}

#[test]
fn agent() {
    // The name of the system stands in for one that a test can know.
    let settings = AgentSettings {
        host: Some("host-a".to_owned()),
        ..AgentSettings::default()
    };
    check("agent.toml", &settings.with_defaults());
}
