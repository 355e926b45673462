//! Where the nodes of the fabric's graph stand, and where they lead. Pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;

use crate::analysis::localize::Component;
use crate::analyzer::dashboard::query::{at_pair, written};
use crate::api::list::natural;
use crate::time::WallTime;

/// Width of the picture, in its own units.
const WIDTH: usize = 1_200;
const MARGIN: usize = 24;
/// Between tiers.
const TIER: usize = 150;
const NODE_HEIGHT: usize = 30;

/// Switches and hosts, and what is cabled to what.
#[derive(Debug, Default)]
pub(super) struct Graph {
    /// Neighbours of each switch.
    switches: BTreeMap<String, BTreeSet<String>>,
    /// Hosts of each ToR.
    tors: BTreeMap<String, BTreeSet<String>>,
    /// The ToR of each host.
    hosts: BTreeMap<String, String>,
    /// Switches by tier, ToRs first, each in natural order.
    tiers: Vec<Vec<String>>,
}

impl Graph {
    pub(super) fn add_host(&mut self, tor: &str, host: &str) {
        self.switches.entry(tor.to_owned()).or_default();
        self.tors
            .entry(tor.to_owned())
            .or_default()
            .insert(host.to_owned());
        self.hosts
            .entry(host.to_owned())
            .or_insert_with(|| tor.to_owned());
    }

    pub(super) fn add_link(&mut self, a: &str, b: &str) {
        if a == b {
            return;
        }
        for (from, to) in [(a, b), (b, a)] {
            self.switches
                .entry(from.to_owned())
                .or_default()
                .insert(to.to_owned());
        }
    }

    pub(super) fn tor_of(&self, host: &str) -> Option<&str> {
        self.hosts.get(host).map(String::as_str)
    }

    pub(super) fn is_tor(&self, name: &str) -> bool {
        self.tors.contains_key(name)
    }

    /// In natural order; `None` for an unknown switch.
    pub(super) fn neighbours(&self, name: &str) -> Option<impl Iterator<Item = &str>> {
        let mut all: Vec<&str> = self
            .switches
            .get(name)?
            .iter()
            .map(String::as_str)
            .collect();
        all.sort_by(|a, b| natural(a, b));
        Some(all.into_iter())
    }

    pub(super) fn hosts(&self, tor: &str) -> impl Iterator<Item = &str> {
        let mut all: Vec<&str> = self
            .tors
            .get(tor)
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect();
        all.sort_by(|a, b| natural(a, b));
        all.into_iter()
    }

    /// Tiers by the distance to the nearest ToR. What no ToR reaches stands with the highest.
    pub(super) fn find_tiers(&mut self) {
        let mut distance: BTreeMap<&str, usize> =
            self.tors.keys().map(|tor| (tor.as_str(), 0)).collect();
        let mut queue: VecDeque<&str> = distance.keys().copied().collect();
        while let Some(node) = queue.pop_front() {
            let next = distance[node] + 1;
            for neighbour in self.switches.get(node).into_iter().flatten() {
                if !distance.contains_key(neighbour.as_str()) {
                    distance.insert(neighbour, next);
                    queue.push_back(neighbour);
                }
            }
        }
        let highest = distance.values().max().copied().unwrap_or(0).max(1);
        let mut tiers = vec![Vec::new(); highest + 1];
        for name in self.switches.keys() {
            tiers[distance.get(name.as_str()).copied().unwrap_or(highest)].push(name.clone());
        }
        for tier in &mut tiers {
            tier.sort_by(|a, b| natural(a, b));
        }
        tiers.retain(|tier| !tier.is_empty());
        self.tiers = tiers;
    }
}

/// A switch, or several, as a box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) x: usize,
    pub(super) y: usize,
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) label: String,
    /// Whether there is room for the label only at an angle.
    pub(super) is_narrow: bool,
    pub(super) title: String,
    pub(super) href: String,
    /// Classes: suspect, selected, group.
    pub(super) class: String,
}

impl Node {
    pub(super) fn middle(&self) -> usize {
        self.x + self.width / 2
    }

    pub(super) fn baseline(&self) -> usize {
        self.y + NODE_HEIGHT / 2 + 4
    }
}

/// A cable, or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) x1: usize,
    pub(super) y1: usize,
    pub(super) x2: usize,
    pub(super) y2: usize,
    pub(super) class: &'static str,
    /// Empty for what needs no words.
    pub(super) title: String,
    /// The incident that is about it.
    pub(super) href: String,
}

/// The drawn graph.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Picture {
    pub(super) width: usize,
    pub(super) height: usize,
    /// The suspects last, so that they are on top.
    pub(super) lines: Vec<Line>,
    pub(super) nodes: Vec<Node>,
    /// Numbers for those who cannot see it.
    pub(super) summary: String,
}

/// Draws the graph; `suspects` are the components with the incident about each.
pub(super) fn draw(
    graph: &Graph,
    suspects: &BTreeMap<Component, u64>,
    selected: Option<&str>,
    most: usize,
) -> Picture {
    let levels = graph.tiers.len();
    let mut picture = Picture {
        width: WIDTH,
        height: MARGIN * 2 + levels.saturating_sub(1) * TIER + NODE_HEIGHT * 2 + 8,
        ..Picture::default()
    };
    if levels == 0 {
        return picture;
    }
    // The node that stands for each switch.
    let mut place: BTreeMap<&str, usize> = BTreeMap::new();
    for (tier, names) in graph.tiers.iter().enumerate() {
        let y = MARGIN + (levels - 1 - tier) * TIER;
        let groups = cut(names, most);
        let room = (WIDTH - 2 * MARGIN) / groups.len();
        for (at, group) in groups.iter().enumerate() {
            let marks = Marks::of(graph, suspects, selected, group, tier == 0);
            let width = (room * 4 / 5).clamp(10, 130);
            let node = box_of(graph, group, tier == 0, &marks);
            picture.nodes.push(Node {
                x: MARGIN + room * at + room.saturating_sub(width) / 2,
                y,
                width,
                is_narrow: node.label.chars().count() * 8 > width,
                ..node
            });
            for name in *group {
                place.insert(name, picture.nodes.len() - 1);
            }
        }
    }
    picture.lines = lines(graph, suspects, selected, &place, &picture.nodes);
    picture.summary = format!(
        "{} switches in {levels} tiers, {} ToRs, {} hosts, {} suspects",
        graph.switches.len(),
        graph.tors.len(),
        graph.hosts.len(),
        suspects.len()
    );
    picture
}

fn cut(names: &[String], most: usize) -> Vec<&[String]> {
    let size = names.len().div_ceil(most).max(1);
    names.chunks(size).collect()
}

/// What is wrong with a node.
struct Marks {
    incident: Option<u64>,
    bad_hosts: usize,
    is_selected: bool,
}

impl Marks {
    fn of(
        graph: &Graph,
        suspects: &BTreeMap<Component, u64>,
        selected: Option<&str>,
        group: &[String],
        is_tor: bool,
    ) -> Self {
        let switch = |name: &String| {
            suspects
                .get(&Component::Switch { name: name.clone() })
                .copied()
        };
        let under = |host: &str| {
            graph
                .tor_of(host)
                .is_some_and(|tor| group.iter().any(|name| name == tor))
        };
        let bad_hosts = if is_tor {
            suspects
                .keys()
                .filter_map(Component::host)
                .filter(|host| under(host))
                .collect::<BTreeSet<_>>()
                .len()
        } else {
            0
        };
        Self {
            incident: group.iter().find_map(switch),
            bad_hosts,
            is_selected: selected.is_some_and(|node| {
                group.iter().any(|name| name == node) || (is_tor && under(node))
            }),
        }
    }
}

fn box_of(graph: &Graph, group: &[String], is_tor: bool, marks: &Marks) -> Node {
    let (first, last) = (group[0].as_str(), group[group.len() - 1].as_str());
    let hosts: usize = group
        .iter()
        .filter_map(|tor| graph.tors.get(tor))
        .map(BTreeSet::len)
        .sum();
    let label = if group.len() == 1 {
        first.to_owned()
    } else {
        format!("{first} … {last}")
    };
    let mut title = if group.len() == 1 {
        label.clone()
    } else {
        format!("{label}: {} switches", group.len())
    };
    if is_tor {
        let _ = write!(title, ", {hosts} hosts");
    }
    if let Some(incident) = marks.incident {
        let _ = write!(title, ", suspected: incident {incident}");
    }
    if marks.bad_hosts > 0 {
        let _ = write!(title, ", {} suspected below it", marks.bad_hosts);
    }
    let mut class = String::from(if is_tor { "node tor" } else { "node" });
    for (is, name) in [
        (marks.incident.is_some(), " suspect"),
        (marks.bad_hosts > 0, " below"),
        (marks.is_selected, " selected"),
        (group.len() > 1, " group"),
    ] {
        if is {
            class += name;
        }
    }
    Node {
        x: 0,
        y: 0,
        width: 0,
        height: NODE_HEIGHT,
        label,
        is_narrow: false,
        title,
        href: node_href(first, None),
        class,
    }
}

fn lines(
    graph: &Graph,
    suspects: &BTreeMap<Component, u64>,
    selected: Option<&str>,
    place: &BTreeMap<&str, usize>,
    nodes: &[Node],
) -> Vec<Line> {
    // Lower node, upper node: the worst of what they stand for.
    let mut found: BTreeMap<(usize, usize), Line> = BTreeMap::new();
    for (a, neighbours) in &graph.switches {
        for b in neighbours {
            let (Some(&lower), Some(&upper)) = (place.get(a.as_str()), place.get(b.as_str()))
            else {
                continue;
            };
            // Nodes are placed from the ToRs up; each cable is met from both sides.
            if lower >= upper {
                continue;
            }
            let line = line(suspects, selected, (a, b), (&nodes[lower], &nodes[upper]));
            let rank = |line: &Line| {
                ["", "selected", "suspect"]
                    .iter()
                    .position(|class| *class == line.class)
            };
            match found.get_mut(&(lower, upper)) {
                Some(known) if rank(known) >= rank(&line) => {}
                Some(known) => *known = line,
                None => {
                    found.insert((lower, upper), line);
                }
            }
        }
    }
    let mut lines: Vec<Line> = found.into_values().collect();
    lines.sort_by_key(|line| (line.class == "suspect", line.class == "selected"));
    lines
}

fn line(
    suspects: &BTreeMap<Component, u64>,
    selected: Option<&str>,
    (a, b): (&str, &str),
    (lower, upper): (&Node, &Node),
) -> Line {
    let about = |from: &str, to: &str| {
        let link = Component::Link {
            from: from.to_owned(),
            to: to.to_owned(),
        };
        suspects
            .get(&link)
            .map(|incident| (format!("{from} → {to}: incident {incident}"), *incident))
    };
    let suspected = about(a, b).or_else(|| about(b, a));
    let is_selected = selected.is_some_and(|node| node == a || node == b);
    let (title, href) = suspected.map_or_else(Default::default, |(title, incident)| {
        (title, format!("/incidents/{incident}"))
    });
    Line {
        x1: lower.middle(),
        y1: lower.y,
        x2: upper.middle(),
        y2: upper.y + NODE_HEIGHT,
        class: match (href.is_empty(), is_selected) {
            (false, _) => "suspect",
            (true, true) => "selected",
            (true, false) => "",
        },
        title,
        href,
    }
}

/// The page of the fabric with this node chosen.
pub(super) fn node_href(name: &str, at: Option<WallTime>) -> String {
    let mut pairs = vec![("node", name.to_owned())];
    pairs.extend(at_pair(at));
    format!("/fabric{}", written(&pairs))
}

#[cfg(test)]
mod tests;
