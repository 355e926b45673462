//! `GET /api/v1/topology`.

use std::collections::{BTreeMap, BTreeSet};

use crate::analysis::filter::UploadState;
use crate::analysis::localize::Component;
use crate::analysis::map::{Finished, Link as MapLink, Node as MapNode, NodeKind, Source};
use crate::analyzer::state::State;
use crate::analyzer::view::View;
use crate::api::name::SourceName;
use crate::api::topology::{
    Detail, Link, Node, Plane, State as NodeState, Topology, TopologyQuery,
};
use crate::id::{HostName, TorId};
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

/// What all nodes and links are compared with.
struct Known<'a> {
    state: &'a State,
    view: &'a View,
    now: WallTime,
    suspects: Suspects,
    map: Finished<'a>,
    judged_hosts: BTreeSet<&'a str>,
}

impl<'a> Known<'a> {
    fn new(state: &'a State, view: &'a View, now: WallTime) -> Self {
        let map = state.map().finish();
        let judged = &view.judgement.judged_rnics;
        let judged_hosts = map
            .nodes
            .values()
            .filter(|node| node.gid.is_some_and(|gid| judged.contains(&gid)))
            .filter_map(|node| node.host)
            .collect();
        Self {
            state,
            view,
            now,
            suspects: Suspects::of(view),
            map,
            judged_hosts,
        }
    }

    /// Whether anything is judged at all.
    fn anything(&self) -> bool {
        self.view.judgement.judged.sent > 0
    }

    fn is_silent(&self, host: &str) -> bool {
        let filter = &self.state.host_filter;
        let upload_state = filter.upload_state(&HostName::new(host), self.now);
        matches!(upload_state, Some(UploadState::Silent(_)))
    }

    fn node(&self, name: &str, node: &MapNode<'_>) -> Node {
        let (silent, is_judged) = match node.kind {
            NodeKind::Host => (self.is_silent(name), self.judged_hosts.contains(name)),
            NodeKind::Rnic => {
                let judged = &self.view.judgement.judged_rnics;
                (
                    node.host.is_some_and(|host| self.is_silent(host)),
                    node.gid.is_some_and(|gid| judged.contains(&gid)),
                )
            }
            NodeKind::Switch | NodeKind::Tor => (false, self.anything()),
        };
        let incidents = self.suspects.of_node(name);
        Node {
            name: name.to_owned(),
            kind: node.kind.into(),
            tier: node.tier,
            tors: owned(&node.tors),
            host: node.host.map(str::to_owned),
            gid: node.gid.map(|gid| gid.to_string()),
            addresses: owned(&node.addresses),
            known_from: names(&node.sources),
            state: state_of(!incidents.is_empty(), silent, is_judged, &node.sources).into(),
            incidents,
        }
    }

    /// Nodes down to `detail`, from the top down, so that what is left out of too large an answer is at the bottom.
    fn nodes(&self, detail: NodeKind) -> Vec<Node> {
        let mut nodes: Vec<Node> = self
            .map
            .nodes
            .iter()
            .filter(|(_, node)| node.kind <= detail)
            .map(|(name, node)| self.node(name, node))
            .collect();
        nodes.sort_by(|a, b| (b.tier, &a.name).cmp(&(a.tier, &b.name)));
        nodes
    }

    fn tier(&self, name: &str) -> Option<u32> {
        self.map.nodes.get(name).and_then(|node| node.tier)
    }

    /// The link from `a`, its lower end, to `b`; `turned` where the map has them the other way round.
    fn link(&self, a: &str, b: &str, link: &MapLink, turned: bool) -> Link {
        let (there, back) = (self.suspects.of_link(a, b), self.suspects.of_link(b, a));
        let suspected = !there.is_empty() || !back.is_empty();
        Link {
            known_from: names(&link.sources),
            cables: link.cables,
            paths_a_to_b: link.paths[usize::from(turned)],
            paths_b_to_a: link.paths[usize::from(!turned)],
            traced_unix_ns: link.traced.map(WallTime::nanos),
            state: state_of(suspected, false, self.anything(), &link.sources).into(),
            incidents_a_to_b: there,
            incidents_b_to_a: back,
            a: a.to_owned(),
            b: b.to_owned(),
        }
    }

    /// Links between nodes down to `detail`, from the top down as well.
    fn links(&self, detail: NodeKind) -> Vec<Link> {
        let mut links = Vec::new();
        for (&(first, second), link) in &self.map.links {
            let turned = self.tier(first) > self.tier(second);
            let (a, b) = if turned {
                (second, first)
            } else {
                (first, second)
            };
            if detail >= NodeKind::Host || self.tier(a) != Some(0) {
                links.push((self.tier(b), self.link(a, b, link, turned)));
            }
        }
        links.sort_by(|(x, one), (y, other)| (y, &one.a, &one.b).cmp(&(x, &other.a, &other.b)));
        links.into_iter().map(|(_, link)| link).collect()
    }
}

/// The planes, where there are several.
fn planes(state: &State) -> Vec<Plane> {
    let Some(planes) = state.windows.planes().filter(|planes| planes.len() > 1) else {
        return Vec::new();
    };
    let name = |tor: &TorId| tor.as_str().to_owned();
    let tors = planes.tors().into_iter();
    tors.map(|tors| Plane {
        tors: tors.into_iter().map(name).collect(),
    })
    .collect()
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
    let known = Known::new(state, view, now);
    let (mut nodes, mut links) = (known.nodes(detail), known.links(detail));
    let (total_nodes, total_links) = (nodes.len(), links.len());
    nodes.truncate(MOST);
    links.truncate(MOST);
    Topology {
        now_unix_ns: now.nanos(),
        has_file: state.has_file(),
        total_nodes,
        total_links,
        nodes,
        links,
        planes: planes(state),
        differences: view.differences.clone(),
    }
}
