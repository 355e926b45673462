//! `rpingmesh topology`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::Args;
use rpingmesh::config::program::Failure;
use serde_json::Value;

use crate::api::{self, ApiArgs};

/// Neighbours that are named in one line; of more the number is told.
const MOST_NAMED: usize = 16;

/// What `topology` takes.
#[derive(Debug, Args)]
pub(crate) struct TopologyArgs {
    #[command(flatten)]
    api: ApiArgs,
    /// List hosts and RNICs too; else only those that something is wrong with [default: false]
    #[arg(long)]
    hosts: bool,
}

pub(crate) fn main(args: &TopologyArgs) -> Result<(), Failure> {
    let analyzer = args.api.analyzer()?;
    let answer = api::block_on(async { analyzer.read("topology").await })?;
    if args.api.json {
        return api::print(&answer.to_string());
    }
    api::print(&describe(&answer, args.hosts))
}

/// State, and the incidents behind it.
fn state(value: &Value, incidents: &str) -> String {
    let mut text = api::text(value, "/state").to_owned();
    for id in api::list(value, incidents) {
        let _ = write!(text, " {id}");
    }
    text
}

fn describe(answer: &Value, with_hosts: bool) -> String {
    let (nodes, links) = (api::list(answer, "/nodes"), api::list(answer, "/links"));
    let count = |kind: &str| {
        let of_kind = nodes.iter().filter(|node| api::text(node, "/kind") == kind);
        of_kind.count()
    };
    let source = match answer["has_file"].as_bool() {
        Some(true) => "topology file, reports and traces",
        _ => "reports and traces (no topology file)",
    };
    let mut text = format!(
        "{} switches above {} ToRs, {} hosts, {} RNICs; known from {source}\n",
        count("switch"),
        count("tor"),
        count("host"),
        count("rnic"),
    );
    let neighbours = neighbours(links);
    let names = nodes.iter().map(|node| api::text(node, "/name").len());
    let width = names.max().unwrap_or(0);
    for node in nodes {
        let (name, kind) = (api::text(node, "/name"), api::text(node, "/kind"));
        let is_switch = matches!(kind, "switch" | "tor");
        if !is_switch && !with_hosts && api::text(node, "/state") == "ok" {
            continue;
        }
        let state = state(node, "/incidents");
        let beside = if kind == "rnic" {
            api::text(node, "/gid").to_owned()
        } else {
            list(neighbours.get(name).map_or(&[][..], Vec::as_slice))
        };
        let line = format!("{kind:<6}  {name:<width$}  {state:<12}  {beside}");
        let _ = write!(text, "\n{}", line.trim_end());
    }
    for link in links {
        for (from, to, incidents) in [
            ("/a", "/b", "/incidents_a_to_b"),
            ("/b", "/a", "/incidents_b_to_a"),
        ] {
            if !api::list(link, incidents).is_empty() {
                let (from, to) = (api::text(link, from), api::text(link, to));
                let state = state(link, incidents);
                let _ = write!(text, "\nlink    {from} -> {to}  {state}");
            }
        }
    }
    let (shown, all) = (nodes.len() as u64, api::number(answer, "/total_nodes"));
    if all > shown {
        let _ = write!(text, "\nand {} nodes more, not listed", all - shown);
    }
    for difference in api::list(answer, "/differences") {
        let difference = difference.as_str().unwrap_or_default();
        let _ = write!(text, "\ndiffers {difference}");
    }
    text
}

/// The nodes at the other ends of each node's links.
fn neighbours(links: &[Value]) -> BTreeMap<&str, Vec<&str>> {
    let mut neighbours: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for link in links {
        let (a, b) = (api::text(link, "/a"), api::text(link, "/b"));
        neighbours.entry(a).or_default().push(b);
        neighbours.entry(b).or_default().push(a);
    }
    neighbours
}

fn list(names: &[&str]) -> String {
    if names.len() <= MOST_NAMED {
        return names.join(" ");
    }
    format!(
        "{} … ({} links)",
        names[..MOST_NAMED].join(" "),
        names.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told_and_healthy_hosts_only_when_asked_for() {
        let node = |name: &str, kind: &str, state: &str, incidents: Value| {
            serde_json::json!({
                "name": name, "kind": kind, "state": state, "incidents": incidents,
                "gid": (kind == "rnic").then_some("10.0.0.1"),
            })
        };
        let link = |a: &str, b: &str, down: Value| {
            let state = if down == serde_json::json!([]) {
                "ok"
            } else {
                "incident"
            };
            serde_json::json!({
                "a": a, "b": b, "state": state, "incidents_a_to_b": [], "incidents_b_to_a": down,
            })
        };
        let none = || serde_json::json!([]);
        let answer = serde_json::json!({
            "has_file": true,
            "total_nodes": 6,
            "nodes": [
                node("spine0", "switch", "unseen", none()),
                node("tor0", "tor", "ok", none()),
                node("h0", "host", "ok", none()),
                node("h1", "host", "silent", none()),
                node("h0/mlx5_0", "rnic", "incident", serde_json::json!([4])),
            ],
            "links": [link("tor0", "spine0", serde_json::json!([3])), link("h0", "tor0", none())],
            "differences": ["host `h9` reports the ToR `tor0`, the topology file says `tor1`"],
        });
        insta::assert_snapshot!("short", describe(&answer, false));
        insta::assert_snapshot!("with_hosts", describe(&answer, true));
    }
}
