//! `/fabric`: switches, ToRs and hosts as a graph, with what is suspected marked in it.
//!
//! The graph is the wiring that was given, else what traces have shown. Its tiers follow from the distance to the ToRs.
//! Tiers of more than [`MOST_IN_TIER`] nodes are drawn as groups of neighbours.

mod layout;

use std::collections::{BTreeMap, BTreeSet};

use super::incidents::Line;
use super::{Frame, Page, PageError};
use crate::analysis::incident::Incident;
use crate::analysis::localize::Component;
use crate::analyzer::dashboard::query::{self, Pairs, written};
use crate::analyzer::dashboard::{Dashboard, format};
use crate::analyzer::state::State;
use crate::topology::wiring::Wiring;
use layout::{Graph, Picture};

/// Nodes of one tier that are drawn each on its own.
const MOST_IN_TIER: usize = 40;

/// What is known of one node.
#[derive(Debug)]
struct About {
    name: String,
    kind: &'static str,
    neighbours: Vec<(String, String)>,
    hosts: Vec<String>,
    incidents: Vec<Line>,
    matrix: Option<String>,
}

#[derive(Debug, Page)]
#[template(path = "fabric.html")]
pub(in crate::analyzer::dashboard) struct Fabric {
    page: Frame,
    picture: Picture,
    source: &'static str,
    suspects: Vec<Line>,
    about: Option<About>,
}

/// Makes the page.
pub(in crate::analyzer::dashboard) async fn page(
    board: &Dashboard,
    pairs: &Pairs,
) -> Result<Fabric, PageError> {
    let mut node: Option<String> = None;
    query::each(pairs, "node", |key, value| {
        if key == "node" {
            node = Some(value.to_owned());
        }
        Ok(key == "node")
    })
    .map_err(PageError::BadRequest)?;
    let given = board.parts.wiring.is_some();
    let read = board
        .parts
        .state
        .read(move |state, _| learn(state, !given))
        .await;
    let mut graph = read.ok_or(PageError::Stopping)?;
    if let Some(wiring) = &board.parts.wiring {
        add_wiring(&mut graph, wiring);
    }
    graph.find_tiers();
    let view = board.parts.views.get();
    let now = board.parts.clock.wall();
    let suspects = suspects(&view.open);
    let about = match node {
        None => None,
        Some(node) => Some(about(&graph, &view.open, &node, now).ok_or_else(|| {
            PageError::NotFound(format!(
                "The fabric has no switch or host {node}, as far as it is known."
            ))
        })?),
    };
    let selected = about.as_ref().map(|about| about.name.as_str());
    Ok(Fabric {
        page: Frame::new(board, "Fabric", "fabric"),
        picture: layout::draw(&graph, &suspects, selected, MOST_IN_TIER),
        source: if given { "the topology file" } else { "traces" },
        suspects: view
            .open
            .iter()
            .map(|incident| Line::new(incident, now))
            .collect(),
        about,
    })
}

/// What reports and traces say: hosts under ToRs, and the links of traced paths if they are wanted.
fn learn(state: &State, traces: bool) -> Graph {
    let mut graph = Graph::default();
    for end in state.ledger.rnics() {
        graph.add_host(end.tor.as_str(), end.host.as_str());
    }
    if traces {
        for (tuple, _) in state.paths.iter() {
            if let Some((_, switches)) = state.traced(tuple) {
                for pair in switches.windows(2) {
                    graph.add_link(&pair[0], &pair[1]);
                }
            }
        }
    }
    graph
}

fn add_wiring(graph: &mut Graph, wiring: &Wiring) {
    let hosts: BTreeSet<&str> = wiring.hosts.iter().map(|host| host.name.as_str()).collect();
    for host in &wiring.hosts {
        graph.add_host(&host.tor, &host.name);
    }
    for link in &wiring.links {
        if !hosts.contains(link.a.as_str()) && !hosts.contains(link.b.as_str()) {
            graph.add_link(&link.a, &link.b);
        }
    }
}

/// What open incidents are about, with the worst of their numbers.
fn suspects(open: &[Incident]) -> BTreeMap<Component, u64> {
    let mut suspects = BTreeMap::new();
    // The worst are first.
    for incident in open {
        for component in std::iter::once(&incident.subject).chain(&incident.or) {
            suspects.entry(component.clone()).or_insert(incident.id);
        }
    }
    suspects
}

fn node_href(name: &str) -> String {
    format!("/fabric{}", written(&[("node", name.to_owned())]))
}

fn about(
    graph: &Graph,
    open: &[Incident],
    node: &str,
    now: crate::time::WallTime,
) -> Option<About> {
    // An RNIC is shown with its host.
    let name = match node.split_once('/') {
        Some((host, _)) if graph.tor_of(host).is_some() => host,
        _ => node,
    };
    let mentions = |component: &Component| match component {
        Component::Link { from, to } => from == name || to == name,
        Component::Switch { name: switch } => switch == name,
        Component::Host { name: host } => host == name || host.split('/').next() == Some(name),
    };
    let incidents = open
        .iter()
        .filter(|incident| {
            std::iter::once(&incident.subject)
                .chain(&incident.or)
                .any(mentions)
        })
        .map(|incident| Line::new(incident, now))
        .collect();
    let to_link = |name: &str| (name.to_owned(), node_href(name));
    if let Some(tor) = graph.tor_of(name) {
        return Some(About {
            name: name.to_owned(),
            kind: "host",
            neighbours: vec![to_link(tor)],
            hosts: Vec::new(),
            incidents,
            matrix: None,
        });
    }
    let is_tor = graph.is_tor(name);
    let neighbours: Vec<_> = graph.neighbours(name)?.map(to_link).collect();
    Some(About {
        name: name.to_owned(),
        kind: if is_tor { "ToR switch" } else { "switch" },
        neighbours,
        hosts: graph.hosts(name).map(str::to_owned).collect(),
        incidents,
        matrix: is_tor.then(|| format!("/tor/{0}/{0}", format::escaped(name))),
    })
}
