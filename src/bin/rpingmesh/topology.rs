//! `rpingmesh topology`.

mod import;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::{Args, Subcommand};
use rpingmesh::analysis::map::NodeKind;
use rpingmesh::api::Name;
use rpingmesh::api::topology::StateName;
use rpingmesh::api::topology::{Link, State, Topology, TopologyQuery};
use rpingmesh::config::program::Failure;

use crate::api::{self, ApiArgs};

/// Neighbours that are named in one line; of more the number is told.
const MOST_NAMED: usize = 16;

/// What `topology` takes.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct TopologyArgs {
    #[command(flatten)]
    api: ApiArgs,
    /// List all hosts and RNICs; otherwise only those with a fault [default: false]
    #[arg(long)]
    hosts: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a topology file from Slurm's topology.conf or from a table of cables
    ///
    /// Prints the file. What the source does not know is left out, and told on standard error.
    Import(import::ImportArgs),
}

pub(crate) fn main(args: &TopologyArgs) -> Result<(), Failure> {
    if let Some(Command::Import(args)) = &args.command {
        return import::main(args);
    }
    let analyzer = args.api.analyzer()?;
    let query = TopologyQuery::default();
    let answer = api::block_on(async { analyzer.ask(&query).await })?;
    if args.api.json {
        return api::print_json(&answer);
    }
    api::print(&describe(&answer, args.hosts))
}

/// State, and the incidents behind it.
fn state(state: &StateName, incidents: &[u64]) -> String {
    let mut text = state.to_string();
    for id in incidents {
        let _ = write!(text, " {id}");
    }
    text
}

fn describe(answer: &Topology, with_hosts: bool) -> String {
    let count = |kind| {
        answer
            .nodes
            .iter()
            .filter(|node| node.kind.is(kind))
            .count()
    };
    let source = if answer.has_file {
        "topology file, reports and traces"
    } else {
        "reports and traces (no topology file)"
    };
    let mut text = format!(
        "{} switches above {} ToRs, {} hosts, {} RNICs; known from {source}\n",
        count(NodeKind::Switch),
        count(NodeKind::Tor),
        count(NodeKind::Host),
        count(NodeKind::Rnic),
    );
    let neighbours = neighbours(&answer.links);
    let names = answer.nodes.iter().map(|node| node.name.len());
    let width = names.max().unwrap_or(0);
    for node in &answer.nodes {
        let is_switch = node.kind.is(NodeKind::Switch) || node.kind.is(NodeKind::Tor);
        let is_quiet = node.state.is(State::Ok) || node.state.is(State::Unjudged);
        if !is_switch && !with_hosts && is_quiet {
            continue;
        }
        let beside = match node.kind {
            Name::Known(NodeKind::Rnic) => node.gid.clone().unwrap_or_default(),
            _ => list(
                neighbours.get(&*node.name).map_or(&[], Vec::as_slice),
                "links",
            ),
        };
        let (name, kind) = (&node.name, &node.kind);
        let state = state(&node.state, &node.incidents);
        let line = format!("{kind:<6}  {name:<width$}  {state:<12}  {beside}");
        let _ = write!(text, "\n{}", line.trim_end());
    }
    for link in &answer.links {
        for (from, to, incidents) in [
            (&link.a, &link.b, &link.incidents_a_to_b),
            (&link.b, &link.a, &link.incidents_b_to_a),
        ] {
            if !incidents.is_empty() {
                let state = state(&link.state, incidents);
                let _ = write!(text, "\nlink    {from} -> {to}  {state}");
            }
        }
    }
    let unjudged = answer
        .nodes
        .iter()
        .filter(|node| node.state.is(State::Unjudged))
        .count();
    if unjudged > 0 {
        let _ = write!(
            text,
            "\nno data: of {unjudged} nodes no probe of the last 20 s is judged; nothing is known of them now"
        );
    }
    let hidden = answer.total_nodes.saturating_sub(answer.nodes.len());
    if hidden > 0 {
        let _ = write!(text, "\nand {hidden} nodes more, not listed");
    }
    for (number, plane) in (1..).zip(&answer.planes) {
        let tors: Vec<&str> = plane.tors.iter().map(String::as_str).collect();
        let _ = write!(text, "\nplane {number}: {}", list(&tors, "ToRs"));
    }
    for difference in &answer.differences {
        let _ = write!(text, "\ndiffers {difference}");
    }
    text
}

/// The nodes at the other ends of each node's links.
fn neighbours(links: &[Link]) -> BTreeMap<&str, Vec<&str>> {
    let mut neighbours: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for Link { a, b, .. } in links {
        neighbours.entry(a).or_default().push(b);
        neighbours.entry(b).or_default().push(a);
    }
    neighbours
}

/// Names, or the first of them and how many there are of `what`.
fn list(names: &[&str], what: &str) -> String {
    if names.len() <= MOST_NAMED {
        return names.join(" ");
    }
    format!(
        "{} … ({} {what})",
        names[..MOST_NAMED].join(" "),
        names.len()
    )
}

#[cfg(test)]
mod tests {
    use rpingmesh::api::topology::{Node, Plane};

    use super::*;

    fn node(name: &str, kind: NodeKind, state: State) -> Node {
        Node {
            name: name.to_owned(),
            kind: kind.into(),
            tier: None,
            tors: Vec::new(),
            host: None,
            gid: (kind == NodeKind::Rnic).then(|| "10.0.0.1".to_owned()),
            addresses: Vec::new(),
            known_from: Vec::new(),
            state: state.into(),
            incidents: Vec::new(),
        }
    }

    fn link(a: &str, b: &str, down: &[u64]) -> Link {
        let state = if down.is_empty() {
            State::Ok
        } else {
            State::Incident
        };
        Link {
            a: a.to_owned(),
            b: b.to_owned(),
            known_from: Vec::new(),
            cables: 1,
            paths_a_to_b: 0,
            paths_b_to_a: 0,
            traced_unix_ns: None,
            state: state.into(),
            incidents_a_to_b: Vec::new(),
            incidents_b_to_a: down.to_vec(),
        }
    }

    #[test]
    fn what_is_wrong_is_told_and_healthy_hosts_only_when_asked_for() {
        let answer = Topology {
            now_unix_ns: 0,
            has_file: true,
            total_nodes: 6,
            total_links: 2,
            nodes: vec![
                node("spine0", NodeKind::Switch, State::Unseen),
                node("tor0", NodeKind::Tor, State::Ok),
                node("h0", NodeKind::Host, State::Ok),
                node("h1", NodeKind::Host, State::Silent),
                Node {
                    incidents: vec![4],
                    ..node("h0/mlx5_0", NodeKind::Rnic, State::Incident)
                },
            ],
            links: vec![link("tor0", "spine0", &[3]), link("h0", "tor0", &[])],
            planes: [["t0", "t1"], ["t2", "t3"]]
                .map(|tors| Plane {
                    tors: tors.map(str::to_owned).to_vec(),
                })
                .to_vec(),
            differences: vec![
                "host `h9` reports the ToR `tor0`, the topology file says `tor1`".to_owned(),
            ],
        };
        insta::assert_snapshot!("short", describe(&answer, false));
        insta::assert_snapshot!("with_hosts", describe(&answer, true));
    }
}
