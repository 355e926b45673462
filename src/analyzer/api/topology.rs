//! `GET /api/v1/topology`.

use std::collections::{BTreeMap, BTreeSet};

use crate::analysis::filter::UploadState;
use crate::analysis::localize::Component;
use crate::analysis::map::{Finished, NodeKind, Source};
use crate::analyzer::state::State;
use crate::analyzer::view::View;
use crate::api::name::SourceName;
use crate::api::topology::{Detail, Link, Node, State as NodeState, Topology, TopologyQuery};
use crate::id::HostName;
use crate::time::WallTime;

/// Nodes in one answer at most, and links: those nearest to the top of the fabric go first.
const MOST: usize = 20_000;

/// Open incidents by what they are about, alternatives included.
#[derive(Default)]
struct Suspects {
    /// By the name of the switch, host or RNIC.
    nodes: BTreeMap<String, Vec<u64>>,
    /// By the ends.
    links: BTreeMap<(String, String), Vec<u64>>,
}

impl Suspects {
    fn of(view: &View) -> Self {
        let mut suspects = Self::default();
        for incident in &view.open {
            for component in incident.suspects() {
                let incidents = match (component, component.node()) {
                    (Component::Link { from, to }, _) => suspects
                        .links
                        .entry((from.clone(), to.clone()))
                        .or_default(),
                    (_, Some(name)) => suspects.nodes.entry(name.into_owned()).or_default(),
                    (_, None) => continue,
                };
                incidents.push(incident.id);
            }
        }
        suspects
    }

    fn of_node(&self, name: &str) -> Vec<u64> {
        self.nodes.get(name).cloned().unwrap_or_default()
    }

    fn of_link(&self, from: &str, to: &str) -> Vec<u64> {
        let ends = (from.to_owned(), to.to_owned());
        self.links.get(&ends).cloned().unwrap_or_default()
    }
}

/// `incident` before `silent` before `unseen` before `unjudged` before `ok`.
fn state_of(
    suspected: bool,
    silent: bool,
    is_judged: bool,
    sources: &BTreeSet<Source>,
) -> NodeState {
    if suspected {
        NodeState::Incident
    } else if silent {
        NodeState::Silent
    } else if sources.iter().all(|source| *source == Source::File) {
        NodeState::Unseen
    } else if !is_judged {
        NodeState::Unjudged
    } else {
        NodeState::Ok
    }
}

fn names(sources: &BTreeSet<Source>) -> Vec<SourceName> {
    sources.iter().copied().map(Into::into).collect()
}

fn owned(names: &BTreeSet<&str>) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Answers `GET /api/v1/topology`.
pub(in crate::analyzer) fn topology(
    state: &State,
    view: &View,
    query: &TopologyQuery,
    now: WallTime,
) -> Topology {
    let detail = match query.detail.map_or(Detail::Rnics, |detail| detail.0) {
        Detail::Switches => NodeKind::Tor,
        Detail::Hosts => NodeKind::Host,
        Detail::Rnics => NodeKind::Rnic,
    };
    let suspects = Suspects::of(view);
    let Finished {
        nodes: known,
        links: cables,
    } = state.map().finish();
    let is_silent = |host: &str| {
        let upload_state = state.host_filter.upload_state(&HostName::new(host), now);
        matches!(upload_state, Some(UploadState::Silent(_)))
    };
    let judged = &view.judgement.judged_rnics;
    let anything = view.judgement.judged.sent > 0;
    let judged_hosts: BTreeSet<&str> = known
        .values()
        .filter(|node| node.gid.is_some_and(|gid| judged.contains(&gid)))
        .filter_map(|node| node.host)
        .collect();
    let mut nodes = Vec::new();
    for (name, node) in known.iter().filter(|(_, node)| node.kind <= detail) {
        let silent = match node.kind {
            NodeKind::Host => is_silent(name),
            NodeKind::Rnic => node.host.is_some_and(is_silent),
            NodeKind::Switch | NodeKind::Tor => false,
        };
        let is_judged = match node.kind {
            NodeKind::Host => judged_hosts.contains(&**name),
            NodeKind::Rnic => node.gid.is_some_and(|gid| judged.contains(&gid)),
            NodeKind::Switch | NodeKind::Tor => anything,
        };
        let incidents = suspects.of_node(name);
        nodes.push(Node {
            name: name.to_string(),
            kind: node.kind.into(),
            tier: node.tier,
            tors: owned(&node.tors),
            host: node.host.map(str::to_owned),
            gid: node.gid.map(|gid| gid.to_string()),
            addresses: owned(&node.addresses),
            known_from: names(&node.sources),
            state: state_of(!incidents.is_empty(), silent, is_judged, &node.sources).into(),
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
        if detail < NodeKind::Host && tier(a) == Some(0) {
            continue;
        }
        let (there, back) = (suspects.of_link(a, b), suspects.of_link(b, a));
        links.push((
            tier(b),
            Link {
                known_from: names(&link.sources),
                cables: link.cables,
                paths_a_to_b: link.paths[usize::from(turned)],
                paths_b_to_a: link.paths[usize::from(!turned)],
                traced_unix_ns: link.traced.map(WallTime::nanos),
                state: state_of(
                    !there.is_empty() || !back.is_empty(),
                    false,
                    anything,
                    &link.sources,
                )
                .into(),
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
    Topology {
        now_unix_ns: now.nanos(),
        has_file: state.has_file(),
        total_nodes,
        total_links,
        nodes,
        links: links.into_iter().map(|(_, link)| link).collect(),
        differences: view.differences.clone(),
    }
}
