//! Slurm's `topology.conf` (`TopologyPlugin=topology/tree`), as written by hand or by Topograph.
//!
//! The file has a tree of switches with the nodes under the leaves. It has no cables: several spines are often one switch there, and
//! parallel cables do not show.

use std::collections::BTreeMap;

use super::{Hosts, ImportError, Imported, checked, hostlist, named};
use crate::topology::wiring::file::Link;

/// Keys of a line that say nothing about the tree.
const OTHER_KEYS: [&str; 1] = ["linkspeed"];

/// A line of a switch.
struct Switch {
    line: usize,
    children: Vec<String>,
    nodes: Vec<String>,
}

/// Reads the file.
///
/// # Errors
/// [`ImportError`] names the line.
pub fn import(text: &str) -> Result<Imported, ImportError> {
    let switches = switches(text)?;
    if switches.is_empty() {
        let why =
            "there is no line with SwitchName=…: is this Slurm's topology.conf (topology/tree)?";
        return Err(ImportError::Whole(why.to_owned()));
    }
    let (mut links, mut hosts) = (Vec::new(), Hosts::default());
    for (name, switch) in &switches {
        for child in &switch.children {
            if !switches.contains_key(child) {
                let why = format!("the switch `{child}` under `{name}` has no line of its own");
                return Err(ImportError::line(switch.line, why));
            }
            links.push(Link::new(name, child));
        }
        for node in &switch.nodes {
            if switches.contains_key(node) {
                let why = format!("`{node}` is a switch and a node");
                return Err(ImportError::line(switch.line, why));
            }
            hosts.add(node, None, name);
        }
    }
    no_loop(&switches)?;
    let notes = vec![
        "topology.conf has a tree of switches, not cables: each link stands for one cable, and a switch that stands for several spines \
         is one; ECMP between leaves is known better from traces or from the cables themselves"
            .to_owned(),
        "the addresses by which switches answer traces are not known: add them under `switches`".to_owned(),
    ];
    checked(links, &hosts, notes)
}

/// The switches by name.
fn switches(text: &str) -> Result<BTreeMap<String, Switch>, ImportError> {
    let mut switches: BTreeMap<String, Switch> = BTreeMap::new();
    for (line, text) in lines(text) {
        let (mut name, mut children, mut nodes) = (None, Vec::new(), Vec::new());
        for word in text.split_whitespace() {
            let (key, value) = word
                .split_once('=')
                .ok_or_else(|| ImportError::line(line, format!("`{word}` is not KEY=VALUE")))?;
            let list = || {
                hostlist::expand(value)
                    .map_err(|why| ImportError::line(line, format!("{key}: {why}")))
            };
            match &*key.to_ascii_lowercase() {
                "switchname" => name = Some(named(line, "switch", value)?),
                "switches" => children = list()?,
                "nodes" => nodes = list()?,
                key if OTHER_KEYS.contains(&key) => {}
                "blockname" | "blocksizes" => {
                    let why = "blocks (topology/block) do not say what switches there are";
                    return Err(ImportError::line(line, why));
                }
                _ => {
                    let why = format!("`{key}` is not SwitchName, Switches, Nodes or LinkSpeed");
                    return Err(ImportError::line(line, why));
                }
            }
        }
        let name = name.ok_or_else(|| ImportError::line(line, "SwitchName is missing"))?;
        for (what, names) in [("switch", &children), ("node", &nodes)] {
            for name in names {
                named(line, what, name)?;
            }
        }
        let switch = Switch {
            line,
            children,
            nodes,
        };
        if let Some(other) = switches.get(&name) {
            let why = format!(
                "the switch `{name}` has a line already, line {}",
                other.line
            );
            return Err(ImportError::line(line, why));
        }
        switches.insert(name, switch);
    }
    Ok(switches)
}

/// The lines with something in them, by the number of their first one: `#` begins a comment, `\` at the end joins the next line.
fn lines(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line
            .split_once('#')
            .map_or(line, |(line, _)| line)
            .trim_end();
        let (part, goes_on) = match line.strip_suffix('\\') {
            Some(part) => (part, true),
            None => (line, false),
        };
        let (_, joined) = open.get_or_insert_with(|| (number, String::new()));
        joined.push_str(part);
        joined.push(' ');
        if !goes_on {
            lines.extend(open.take());
        }
    }
    lines.extend(open);
    lines.retain(|(_, line)| !line.trim().is_empty());
    lines
}

/// A switch that is under itself is no tree.
fn no_loop(switches: &BTreeMap<String, Switch>) -> Result<(), ImportError> {
    let mut parents: BTreeMap<&str, usize> = BTreeMap::new();
    for child in switches.values().flat_map(|switch| &switch.children) {
        *parents.entry(child).or_default() += 1;
    }
    let is_top = |name: &&String| !parents.contains_key(name.as_str());
    let mut open: Vec<&String> = switches.keys().filter(is_top).collect();
    let mut seen = 0;
    while let Some(name) = open.pop() {
        seen += 1;
        for child in &switches[name].children {
            if let Some(left) = parents.get_mut(child.as_str()) {
                *left -= 1;
                if *left == 0 {
                    open.push(child);
                }
            }
        }
    }
    let looped = switches
        .iter()
        .find(|(name, _)| parents.get(name.as_str()).is_some_and(|left| *left > 0));
    match looped {
        Some((name, switch)) if seen < switches.len() => {
            let why = format!("the switch `{name}` is under itself");
            Err(ImportError::line(switch.line, why))
        }
        _ => Ok(()),
    }
}
