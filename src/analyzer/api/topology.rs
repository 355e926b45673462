//! The answer of `/api/v1/topology`: the fabric as it is known, to be drawn.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::super::judging::View;
use super::super::state::State;
use crate::analysis::filter::Voice;
use crate::analysis::localize::Component;
use crate::analysis::map::{Finished, Kind, Source};
use crate::id::HostName;
use crate::time::WallTime;

/// Nodes in one answer at most, and links: those nearest to the top of the fabric go first.
const MOST: usize = 20_000;

/// What `GET /api/v1/topology` was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::analyzer) struct TopologyQuery {
    detail: Kind,
}

impl TopologyQuery {
    /// From the pairs of a query string; the error says which is wrong.
    pub(in crate::analyzer) fn parse(pairs: &[(String, String)]) -> Result<Self, String> {
        let detail = match pairs {
            [] => Kind::Rnic,
            [(key, value)] if key == "detail" => match value.as_str() {
                "switches" => Kind::Tor,
                "hosts" => Kind::Host,
                "rnics" => Kind::Rnic,
                _ => {
                    return Err(format!(
                        "`detail` must be switches, hosts or rnics, not `{value}`"
                    ));
                }
            },
            [(key, _)] => return Err(format!("`{key}` is unknown: expected detail")),
            _ => return Err("only `detail` can be given, once".to_owned()),
        };
        Ok(Self { detail })
    }
}

#[derive(Debug, Serialize)]
pub(in crate::analyzer) struct TopologyAnswer {
    now_unix_ns: i64,
    has_file: bool,
    total_nodes: usize,
    total_links: usize,
    nodes: Vec<NodeJson>,
    links: Vec<LinkJson>,
    differences: Vec<String>,
}

#[derive(Debug, Serialize)]
struct NodeJson {
    name: String,
    kind: &'static str,
    tier: Option<u32>,
    tors: Vec<String>,
    host: Option<String>,
    gid: Option<String>,
    addresses: Vec<String>,
    known_from: Vec<&'static str>,
    state: &'static str,
    incidents: Vec<u64>,
}

#[derive(Debug, Serialize)]
struct LinkJson {
    a: String,
    b: String,
    known_from: Vec<&'static str>,
    cables: u32,
    paths_a_to_b: u64,
    paths_b_to_a: u64,
    traced_unix_ns: Option<i64>,
    state: &'static str,
    incidents_a_to_b: Vec<u64>,
    incidents_b_to_a: Vec<u64>,
}

/// Open incidents by what they are about, alternatives included.
struct Suspects(BTreeMap<Component, Vec<u64>>);

impl Suspects {
    fn of(view: &View) -> Self {
        let mut suspects: BTreeMap<Component, Vec<u64>> = BTreeMap::new();
        for incident in &view.open {
            for component in std::iter::once(&incident.subject).chain(&incident.or) {
                suspects
                    .entry(component.clone())
                    .or_default()
                    .push(incident.id);
            }
        }
        Self(suspects)
    }

    fn of_node(&self, name: &str) -> Vec<u64> {
        let name = name.to_owned();
        let kinds = [
            Component::Switch { name: name.clone() },
            Component::Host { name },
        ];
        kinds
            .iter()
            .filter_map(|kind| self.0.get(kind))
            .flatten()
            .copied()
            .collect()
    }

    fn of_link(&self, from: &str, to: &str) -> Vec<u64> {
        let link = Component::Link {
            from: from.to_owned(),
            to: to.to_owned(),
        };
        self.0.get(&link).cloned().unwrap_or_default()
    }
}

/// `incident` before `silent` before `unseen` before `ok`.
fn state_of(suspected: bool, silent: bool, sources: &BTreeSet<Source>) -> &'static str {
    if suspected {
        "incident"
    } else if silent {
        "silent"
    } else if sources.iter().all(|source| *source == Source::File) {
        "unseen"
    } else {
        "ok"
    }
}

fn names(sources: &BTreeSet<Source>) -> Vec<&'static str> {
    sources.iter().map(|source| source.name()).collect()
}

fn owned(names: &BTreeSet<&str>) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Answers `GET /api/v1/topology`.
pub(in crate::analyzer) fn topology(
    state: &State,
    view: &View,
    query: TopologyQuery,
    now: WallTime,
) -> TopologyAnswer {
    let suspects = Suspects::of(view);
    let Finished {
        nodes: known,
        links: cables,
    } = state.map().finish();
    let is_silent = |host: &str| {
        let voice = state.ledger.voice(&HostName::new(host), now);
        matches!(voice, Some(Voice::Silent(_)))
    };
    let mut nodes = Vec::new();
    for (name, node) in known.iter().filter(|(_, node)| node.kind <= query.detail) {
        let silent = match node.kind {
            Kind::Host => is_silent(name),
            Kind::Rnic => node.host.is_some_and(is_silent),
            Kind::Switch | Kind::Tor => false,
        };
        let incidents = suspects.of_node(name);
        nodes.push(NodeJson {
            name: name.to_string(),
            kind: node.kind.name(),
            tier: node.tier,
            tors: owned(&node.tors),
            host: node.host.map(str::to_owned),
            gid: node.gid.map(|gid| gid.to_string()),
            addresses: owned(&node.addresses),
            known_from: names(&node.sources),
            state: state_of(!incidents.is_empty(), silent, &node.sources),
            incidents,
        });
    }
    // From the top down, so that what is left out of too large an answer is at the bottom.
    nodes.sort_by(|a, b| (b.tier, &a.name).cmp(&(a.tier, &b.name)));
    let tier = |name: &str| known.get(name).and_then(|node| node.tier);
    let mut links = Vec::new();
    for (&(first, second), link) in &cables {
        // The lower end first.
        let turned = tier(first) > tier(second);
        let (a, b) = if turned {
            (second, first)
        } else {
            (first, second)
        };
        if query.detail < Kind::Host && tier(a) == Some(0) {
            continue;
        }
        let (there, back) = (suspects.of_link(a, b), suspects.of_link(b, a));
        links.push((
            tier(b),
            LinkJson {
                known_from: names(&link.sources),
                cables: link.cables,
                paths_a_to_b: link.paths[usize::from(turned)],
                paths_b_to_a: link.paths[usize::from(!turned)],
                traced_unix_ns: link.traced.map(WallTime::nanos),
                state: state_of(!there.is_empty() || !back.is_empty(), false, &link.sources),
                incidents_a_to_b: there,
                incidents_b_to_a: back,
                a: a.to_owned(),
                b: b.to_owned(),
            },
        ));
    }
    links.sort_by(|(x, one), (y, other)| (y, &one.a, &one.b).cmp(&(x, &other.a, &other.b)));
    let (total_nodes, total_links) = (nodes.len(), links.len());
    nodes.truncate(MOST);
    links.truncate(MOST);
    TopologyAnswer {
        now_unix_ns: now.nanos(),
        has_file: state.has_file(),
        total_nodes,
        total_links,
        nodes,
        links: links.into_iter().map(|(_, link)| link).collect(),
        differences: view.differences.clone(),
    }
}
