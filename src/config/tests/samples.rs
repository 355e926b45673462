//! What is made from the definitions of the configuration keys: the sample files under `docs/config` and the keys of the NixOS
//! module. `RPINGMESH_UPDATE_DOCS=1` writes them instead of comparing them.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::config::agent::AgentSettings;
use crate::config::analyzer::AnalyzerSettings;
use crate::config::controller::ControllerSettings;
use crate::config::settings::{About, Kind, Settings};

/// Set it to write the files instead of comparing them.
const UPDATE: &str = "RPINGMESH_UPDATE_DOCS";

/// A file of the repository is what was made; or becomes it.
fn same(file: &str, made: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os(UPDATE).is_some() {
        fs::write(&path, made).expect("written");
        return;
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    // The whole texts are long: the first line that differs says enough.
    let differs = written
        .lines()
        .zip(made.lines())
        .find(|(written, made)| written != made);
    assert!(
        written == made,
        "{file} is stale ({UPDATE}=1 writes it): {differs:?}"
    );
}

/// Columns of a comment.
const WIDTH: usize = 120;

/// Adds a comment, broken into lines.
fn comment(text: &mut String, comment: &str) {
    let mut line = String::from("#");
    for word in comment.split(' ') {
        if line.len() + 1 + word.len() > WIDTH {
            let _ = writeln!(text, "{line}");
            line = String::from("#");
        }
        let _ = write!(line, " {word}");
    }
    let _ = writeln!(text, "{line}");
}

/// What the key is for, and what the help says of its default.
fn parts(about: &About) -> (&str, Option<&str>) {
    match about.help.split_once(" [default: ") {
        Some((help, default)) => (help, Some(default.trim_end_matches(']'))),
        None => (&about.help, None),
    }
}

/// The sample file of a role: every key, with its default or an example.
fn sample<S: Settings>(role: &str) -> String {
    let defaults = toml::Table::try_from(S::default()).expect("TOML");
    let mut text = String::new();
    comment(
        &mut text,
        &format!(
            "rpingmesh-{role}: every key with its default, or an example where it has none. Each key is also a flag \
             (`log.level`: --log-level) and a variable (RPINGMESH_LOG_LEVEL). Flags win over \
             variables, variables over this file. `rpingmesh-{role} print-config` shows what is in force."
        ),
    );
    let mut section = String::new();
    for key in S::keys() {
        let about = key.about;
        let (own, name) = about.path.rsplit_once('.').unwrap_or(("", &about.path));
        text.push('\n');
        if own != section {
            comment(&mut text, &about.section);
            let _ = writeln!(text, "[{own}]");
            own.clone_into(&mut section);
        }
        let (help, default) = parts(&about);
        let value = about
            .example
            .clone()
            .or_else(|| about.default_in(&defaults).cloned());
        let value =
            value.unwrap_or_else(|| panic!("{}: give it a default or an example", about.path));
        let default = default
            .map(|text| format!(" Default: {text}."))
            .unwrap_or_default();
        let choices = match about.choices.join(", ") {
            names if names.is_empty() => names,
            names => format!(" One of: {names}."),
        };
        comment(&mut text, &format!("{help}.{choices}{default}"));
        for note in &about.notes {
            comment(&mut text, note);
        }
        let off = if about.needed { "" } else { "#" };
        let _ = writeln!(text, "{off}{name} = {value}");
    }
    text
}

/// The sample, and the sample with every key in force, are read.
fn check<S: Settings>(role: &str) {
    let text = sample::<S>(role);
    toml::from_str::<S>(&text).unwrap_or_else(|error| panic!("{role}: {error}"));
    let is_key = |line: &str| line.starts_with(|first: char| first.is_ascii_lowercase());
    let in_force: Vec<_> = text
        .lines()
        .map(|line| {
            line.strip_prefix('#')
                .filter(|rest| is_key(rest))
                .unwrap_or(line)
        })
        .collect();
    toml::from_str::<S>(&in_force.join("\n"))
        .unwrap_or_else(|error| panic!("{role} with all keys: {error}"));
    same(&format!("docs/config/{role}.toml"), &text);
}

#[test]
fn the_sample_files_have_every_key() {
    check::<AgentSettings>("agent");
    check::<AnalyzerSettings>("analyzer");
    check::<ControllerSettings>("controller");
}

/// A key as `nix/modules/role.nix` reads it.
fn nix_key(about: &About) -> Value {
    let bound = |text: &Option<String>| text.as_ref().and_then(|text| text.parse::<u64>().ok());
    let (description, _) = parts(about);
    let mut key = json!({
        "path": about.path.split('.').collect::<Vec<_>>(),
        "description": format!("{description}."),
        "list": about.many,
        "type": match about.kind {
            Kind::Bool => "bool",
            Kind::Integer(_) => "integer",
            Kind::Number => "number",
            Kind::Text if about.choices.is_empty() => "text",
            Kind::Text => "choice",
            Kind::Duration => "duration",
            Kind::Size => "size",
        },
    });
    if let Kind::Integer(most) = about.kind {
        key["least"] = bound(&about.least).unwrap_or(0).into();
        // Nix has integers of 64 bits with a sign.
        let most = bound(&about.most).unwrap_or(most);
        key["most"] = i64::try_from(most).unwrap_or(i64::MAX).into();
    }
    if !about.choices.is_empty() {
        key["choices"] = json!(about.choices);
    }
    key
}

fn nix_keys<S: Settings>() -> Vec<Value> {
    S::keys().iter().map(|key| nix_key(&key.about)).collect()
}

#[test]
fn the_nixos_module_has_every_key() {
    let roles = [
        ("agent", nix_keys::<AgentSettings>()),
        ("analyzer", nix_keys::<AnalyzerSettings>()),
        ("controller", nix_keys::<ControllerSettings>()),
    ];
    // A line for each key, so that a change shows as one.
    let roles = roles.map(|(role, keys)| {
        let keys: Vec<_> = keys.iter().map(|key| format!("    {key}")).collect();
        format!("  \"{role}\": [\n{}\n  ]", keys.join(",\n"))
    });
    same(
        "nix/modules/keys.json",
        &format!("{{\n{}\n}}\n", roles.join(",\n")),
    );
}
