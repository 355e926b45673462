//! `/fabric`: switches, ToRs and hosts as a graph, with what is suspected marked in it.
//!
//! The graph is the wiring that was given, else what traces have shown. Its tiers follow from the distance to the ToRs.
//! Tiers of more than [`MOST_IN_TIER`] nodes are drawn as groups of neighbours.

mod layout;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::frame::Frame;
use super::incidents::Line;
use super::parts::{PageError, host_href, link_href};
use super::past;
use crate::analysis::incident::Incident;
use crate::analysis::localize::Component;
use crate::analyzer::dashboard::board::Dashboard;
use crate::analyzer::dashboard::query::{self, Pairs, When, at_pair, at_query, written};
use crate::analyzer::state::State;
use crate::id::RnicName;
use crate::time::WallTime;
use crate::topology::wiring::Wiring;
use askama::Template as Page;
use layout::{Graph, Picture, node_href};

/// Nodes of one tier that are drawn each on its own.
const MOST_IN_TIER: usize = 40;

/// What a node is cabled to.
#[derive(Debug)]
struct Neighbour {
    name: String,
    href: String,
    /// The link to it, and from it.
    links: [String; 2],
}

/// What is known of one node.
#[derive(Debug)]
struct About {
    name: String,
    kind: &'static str,
    /// Names, their pages, and the links to and from them.
    neighbours: Vec<Neighbour>,
    /// Names and pages.
    hosts: Vec<(String, String)>,
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
    /// The page with nothing selected.
    nothing: String,
}

/// Makes the page.
pub(in crate::analyzer::dashboard) async fn page(
    board: &Dashboard,
    pairs: &Pairs,
) -> Result<Fabric, PageError> {
    let (mut node, mut at): (Option<String>, _) = (None, None);
    query::each(pairs, "node or at", |key, value| {
        match key {
            "node" => node = Some(value.to_owned()),
            "at" => at = query::at(value)?,
            _ => return Ok(false),
        }
        Ok(true)
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
    let (open, now) = match at {
        None => (
            board.parts.views.get().open.clone(),
            board.parts.clock.wall(),
        ),
        Some(at) => (past::open_at(board, at).await?, at),
    };
    let suspects = suspects(&open);
    let href = |at| {
        let mut pairs: Vec<_> = node
            .clone()
            .map(|node| ("node", node))
            .into_iter()
            .collect();
        pairs.extend(at_pair(at));
        format!("/fabric{}", written(&pairs))
    };
    let note = "Suspects are of this time. Switches and cables are shown as they are known now; their past is not kept.";
    let page = Frame::timed(board, "Fabric", "fabric", at, note, &href);
    let about =
        match &node {
            None => None,
            Some(node) => Some(about(&graph, &open, node, (now, at)).ok_or_else(|| {
                PageError::NotFound(format!("No switch or host {node} is known."))
            })?),
        };
    let selected = about.as_ref().map(|about| about.name.as_str());
    Ok(Fabric {
        page,
        picture: drawn(&graph, &suspects, selected, at),
        nothing: format!("/fabric{}", at_query(at)),
        source: if given { "the topology file" } else { "traces" },
        suspects: open
            .iter()
            .map(|incident| Line::new(incident, now))
            .collect(),
        about,
    })
}

/// The graph, with links that stay at this time.
fn drawn(
    graph: &Graph,
    suspects: &BTreeMap<Component, u64>,
    selected: Option<&str>,
    at: Option<WallTime>,
) -> Picture {
    let mut picture = layout::draw(graph, suspects, selected, MOST_IN_TIER);
    if let Some((key, value)) = at_pair(at) {
        for node in &mut picture.nodes {
            // Writing to a string cannot fail.
            let _ = write!(node.href, "&{key}={value}");
        }
    }
    for line in picture
        .lines
        .iter_mut()
        .filter(|line| !line.href.is_empty())
    {
        line.href += &at_query(at);
    }
    picture
}

/// What reports and traces say: hosts under ToRs, and the links of traced paths if they are wanted.
fn learn(state: &State, traces: bool) -> Graph {
    let mut graph = Graph::default();
    for end in state.host_filter.rnics() {
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
    for host in wiring.hosts() {
        for tor in host.tors() {
            graph.add_host(tor.as_str(), host.name.as_str());
        }
    }
    for link in wiring.links() {
        graph.add_link(&link.a, &link.b);
    }
}

/// What open incidents are about, with the worst of their numbers.
fn suspects(open: &[Incident]) -> BTreeMap<Component, u64> {
    let mut suspects = BTreeMap::new();
    // The worst are first.
    for incident in open {
        for component in incident.suspects() {
            suspects.entry(component.clone()).or_insert(incident.id);
        }
    }
    suspects
}

fn about(
    graph: &Graph,
    open: &[Incident],
    node: &str,
    (now, at): (WallTime, Option<WallTime>),
) -> Option<About> {
    // An RNIC is shown with its host.
    let rnic = node.parse::<RnicName>();
    let name = match &rnic {
        Ok(rnic) if graph.tor_of(rnic.host.as_str()).is_some() => rnic.host.as_str(),
        _ => node,
    };
    let mentions = |component: &Component| match component {
        Component::Link { from, to } => from == name || to == name,
        Component::Switch { name: switch } => switch == name,
        Component::Host { .. } | Component::Rnic { .. } => component.host() == Some(name),
        Component::Group { .. } => false,
    };
    let incidents = open
        .iter()
        .filter(|incident| incident.suspects().any(mentions))
        .map(|incident| Line::new(incident, now))
        .collect();
    let to_link = |other: &str| Neighbour {
        name: other.to_owned(),
        href: node_href(other, at),
        links: [link_href(name, other, at), link_href(other, name, at)],
    };
    let to_host = |host: &str| (host.to_owned(), host_href(host, at));
    if let Some(tor) = graph.tor_of(name) {
        return Some(About {
            name: name.to_owned(),
            kind: "host",
            neighbours: vec![to_link(tor)],
            hosts: vec![to_host(name)],
            incidents,
            matrix: None,
        });
    }
    let is_tor = graph.is_tor(name);
    let Some(neighbours) = graph.neighbours(name) else {
        // It may have gone since.
        return at.map(|_| About {
            name: name.to_owned(),
            kind: "not known any more",
            neighbours: Vec::new(),
            hosts: Vec::new(),
            incidents,
            matrix: None,
        });
    };
    let neighbours: Vec<_> = neighbours.map(to_link).collect();
    Some(About {
        name: name.to_owned(),
        kind: if is_tor { "ToR switch" } else { "switch" },
        neighbours,
        hosts: graph.hosts(name).map(to_host).collect(),
        incidents,
        matrix: is_tor.then(|| {
            let when = When {
                at,
                ..When::default()
            };
            super::parts::pair_href(name, name, when)
        }),
    })
}
