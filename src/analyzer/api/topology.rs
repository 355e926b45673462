//! The answer of `/api/v1/topology`: the fabric as it is known, to be drawn.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::super::judging::View;
use super::super::state::State;
use super::answer::answer;
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

answer! {
    #[derive(Debug, Serialize)]
    pub(in crate::analyzer) struct TopologyAnswer {
        /// the analyzer's wall clock
        now_unix_ns: i64,
        /// whether a topology file was given
        has_file: bool,
        /// nodes that are known, in this detail
        total_nodes: usize,
        /// links that are known
        total_links: usize,
        /// the nodes, the upper tiers first, then by name
        nodes: Vec<NodeJson>,
        /// the links, one for all cables between the same two nodes; RNICs have none of their own
        links: Vec<LinkJson>,
        /// where file, reports and traces contradict each other, in words
        differences: Vec<String>,
    }
}

answer! {
    #[derive(Debug, Serialize)]
    struct NodeJson {
        /// its name; of an RNIC `HOST/DEVICE`
        name: String,
        /// switch, tor, host or rnic
        kind: &'static str,
        /// 0 for hosts and RNICs, 1 for ToRs, 2 and more above; null while no known link joins it to a ToR
        tier: Option<u32>,
        /// ToRs that a host or RNIC is cabled to
        tors: Vec<String>,
        /// the host of an RNIC, else null
        host: Option<String>,
        /// its GID, else null
        gid: Option<String>,
        /// what else a switch calls itself where it answers traces
        addresses: Vec<String>,
        /// who knows of it: file, report (of an agent, from its registration), trace
        known_from: Vec<&'static str>,
        /// incident: an open incident is about it; silent: the host's agent uploads nothing; unseen: the file alone
        /// knows it; ok
        state: &'static str,
        /// numbers of open incidents about it, or perhaps about it
        incidents: Vec<u64>,
    }
}

answer! {
    #[derive(Debug, Serialize)]
    struct LinkJson {
        /// the lower end
        a: String,
        /// the upper end
        b: String,
        /// who knows of it
        known_from: Vec<&'static str>,
        /// cables that the file lists; 0 if it has none
        cables: u32,
        /// traced 5-tuples that cross it upwards
        paths_a_to_b: u64,
        /// traced 5-tuples that cross it downwards
        paths_b_to_a: u64,
        /// when a trace last showed it; null if none has
        traced_unix_ns: Option<i64>,
        /// incident, unseen or ok, as for nodes
        state: &'static str,
        /// numbers of open incidents about it in this direction, or perhaps about it
        incidents_a_to_b: Vec<u64>,
        /// in the other one
        incidents_b_to_a: Vec<u64>,
    }
}

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
            for component in std::iter::once(&incident.subject).chain(&incident.or) {
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
