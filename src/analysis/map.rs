//! The map of the fabric: what the topology file, the agents' reports and the traces know of it together, and where they
//! contradict each other.
//!
//! Made anew whenever it is asked for: it borrows from what is known and keeps nothing.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::report::End;
use super::routes::{MOST_DIFFERENCES, Routes};
use crate::id::{Gid, RnicName, TorId};
use crate::probe::trace::Route;
use crate::time::WallTime;
use crate::topology::wiring::{Host, Names, Rnics, Wiring};

/// Addresses that are kept of one switch.
const MOST_ADDRESSES: usize = 256;

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NodeKind {
    /// A switch above the ToRs.
    Switch,
    /// A switch with hosts.
    Tor,
    /// A host.
    Host,
    /// An RNIC of a host, named `HOST/DEVICE`.
    Rnic,
}

impl NodeKind {
    /// Every kind, from the top down.
    pub const ALL: [Self; 4] = [Self::Switch, Self::Tor, Self::Host, Self::Rnic];

    /// As answers name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Switch => "switch",
            Self::Tor => "tor",
            Self::Host => "host",
            Self::Rnic => "rnic",
        }
    }
}

/// Who knows of a node or link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// The topology file.
    File,
    /// A report of an agent, which has it from its registration.
    Report,
    /// A trace.
    Trace,
}

impl Source {
    /// Every source.
    pub const ALL: [Self; 3] = [Self::File, Self::Report, Self::Trace];

    /// As answers name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Report => "report",
            Self::Trace => "trace",
        }
    }
}

/// A switch, host or RNIC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node<'a> {
    /// What it is.
    pub kind: NodeKind,
    /// Links from the hosts: 0 for hosts and RNICs, 1 for ToRs; `None` for a switch that no known link joins to a ToR.
    pub tier: Option<u32>,
    /// ToRs that a host or RNIC is cabled to.
    pub tors: BTreeSet<&'a str>,
    /// The host of an RNIC.
    pub host: Option<&'a str>,
    /// The GID of an RNIC.
    pub gid: Option<Gid>,
    /// What else a switch calls itself in traces.
    pub addresses: BTreeSet<&'a str>,
    /// Who knows of it.
    pub sources: BTreeSet<Source>,
}

/// A cable, or several between the same two nodes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Link {
    /// Who knows of it.
    pub sources: BTreeSet<Source>,
    /// Cables that the file lists.
    pub cables: u32,
    /// Traced 5-tuples that cross it: from the first end to the second, and back.
    pub paths: [u64; 2],
    /// When a trace last showed it.
    pub traced: Option<WallTime>,
}

/// The map. See the module.
#[derive(Debug, Clone, Default)]
pub struct Map<'a> {
    nodes: BTreeMap<Cow<'a, str>, Node<'a>>,
    links: HashMap<(&'a str, &'a str), Link>,
    /// Whether the file says how switches are cabled.
    has_file: bool,
    differences: BTreeSet<String>,
}

/// The map with everything in it.
#[derive(Debug, Clone)]
pub struct Finished<'a> {
    /// The nodes by name.
    pub nodes: BTreeMap<Cow<'a, str>, Node<'a>>,
    /// The links by their ends, the smaller name first.
    pub links: BTreeMap<(&'a str, &'a str), Link>,
}

impl<'a> Map<'a> {
    /// What the file says, if there is one.
    pub fn new(wiring: Option<&'a Wiring>) -> Self {
        let mut map = Self::default();
        let Some(wiring) = wiring else {
            return map;
        };
        for host in wiring.hosts() {
            map.host(host);
        }
        for link in wiring.links() {
            map.has_file = true;
            map.node(&link.a, NodeKind::Switch, Source::File);
            map.node(&link.b, NodeKind::Switch, Source::File);
            map.link(&link.a, &link.b, Source::File).0.cables += 1;
        }
        for switch in wiring.switches() {
            let node = map.node(&switch.name, NodeKind::Switch, Source::File);
            node.addresses
                .extend(switch.addresses.iter().map(String::as_str));
        }
        map
    }

    fn host(&mut self, host: &'a Host) {
        let name = host.name.as_str();
        for tor in host.tors() {
            self.node(tor.as_str(), NodeKind::Tor, Source::File);
            let node = self.node(name, NodeKind::Host, Source::File);
            node.tors.insert(tor.as_str());
        }
        let rnics = match &host.rnics {
            Rnics::All(tor) => {
                self.link(name, tor.as_str(), Source::File).0.cables = 1;
                return;
            }
            Rnics::Each(rnics) => rnics,
        };
        for rnic in rnics {
            for tor in &rnic.tors {
                self.link(name, tor.as_str(), Source::File).0.cables += 1;
            }
            let full = RnicName::new(host.name.clone(), rnic.device.clone()).to_string();
            let node = self.node(full, NodeKind::Rnic, Source::File);
            node.tors.extend(rnic.tors.iter().map(TorId::as_str));
            node.host = Some(name);
        }
    }

    fn node(
        &mut self,
        name: impl Into<Cow<'a, str>>,
        kind: NodeKind,
        source: Source,
    ) -> &mut Node<'a> {
        let node = self.nodes.entry(name.into()).or_insert_with(|| Node {
            kind,
            tier: None,
            tors: BTreeSet::new(),
            host: None,
            gid: None,
            addresses: BTreeSet::new(),
            sources: BTreeSet::new(),
        });
        // A link names a switch without saying whether hosts are below it.
        node.kind = node.kind.max(kind);
        node.sources.insert(source);
        node
    }

    /// The link between two nodes, and whether it is kept the other way round.
    fn link(&mut self, a: &'a str, b: &'a str, source: Source) -> (&mut Link, bool) {
        let turned = a > b;
        let ends = if turned { (b, a) } else { (a, b) };
        let link = self.links.entry(ends).or_default();
        link.sources.insert(source);
        (link, turned)
    }

    /// Takes an RNIC as its own agent describes it.
    pub fn report(&mut self, end: &'a End) {
        let (host, tor) = (end.host.as_str(), end.tor.as_str());
        self.node(tor, NodeKind::Tor, Source::Report);
        self.node(host, NodeKind::Host, Source::Report)
            .tors
            .insert(tor);
        self.link(host, tor, Source::Report);
        let name = end.rnic().to_string();
        let rnic = self.node(name, NodeKind::Rnic, Source::Report);
        rnic.tors.insert(tor);
        rnic.host = Some(host);
        rnic.gid = Some(end.gid);
    }

    /// Takes the switches of a path that a complete trace has shown, from ToR to ToR; `plan` says how switches are called and
    /// how far ToRs are apart. A path that is too short to end at the target's ToR is left out.
    pub fn trace(
        &mut self,
        ends: (Option<&'a End>, Option<&'a End>),
        route: &'a Route,
        (names, routes): (&'a Names, &Routes),
        confirmed: WallTime,
    ) {
        if let (Some(source), Some(target)) = ends
            && routes.is_too_short(
                &(source.tor.clone(), target.tor.clone()),
                route.hops().len(),
            )
        {
            return;
        }
        let mut before: Option<&'a str> = None;
        for (answer, name) in named(ends, route, names) {
            let (Some(answer), Some(name)) = (answer, name) else {
                before = None;
                continue;
            };
            if self.has_file && !self.nodes.contains_key(name) {
                self.differ(|| {
                    format!(
                        "traces show the switch `{name}`, the topology file does not; if it is an address of a switch \
                         there, list it under `switches`"
                    )
                });
            }
            let node = self.node(name, NodeKind::Switch, Source::Trace);
            if answer != name && node.addresses.len() < MOST_ADDRESSES {
                node.addresses.insert(answer);
            }
            if let Some(before) = before.filter(|before| *before != name) {
                self.traced_link(before, name, confirmed);
            }
            before = Some(name);
        }
    }

    fn traced_link(&mut self, from: &'a str, to: &'a str, confirmed: WallTime) {
        let has_file = self.has_file;
        let is_of_file = |name: &str| {
            let node = self.nodes.get(name);
            node.is_some_and(|node| node.sources.contains(&Source::File))
        };
        let both_known = is_of_file(from) && is_of_file(to);
        let (link, turned) = self.link(from, to, Source::Trace);
        link.paths[usize::from(turned)] += 1;
        link.traced = link.traced.max(Some(confirmed));
        if has_file && both_known && !link.sources.contains(&Source::File) {
            let (a, b) = if turned { (to, from) } else { (from, to) };
            self.differ(|| {
                format!("traces show a link between `{a}` and `{b}`, the topology file does not")
            });
        }
    }

    fn differ(&mut self, text: impl FnOnce() -> String) {
        if self.differences.len() < MOST_DIFFERENCES {
            self.differences.insert(text());
        }
    }

    /// Where traces contradict the file; at most [`MOST_DIFFERENCES`].
    pub fn differences(&self) -> impl Iterator<Item = &str> {
        self.differences.iter().map(String::as_str)
    }

    /// Finds the tiers and gives what is known.
    pub fn finish(mut self) -> Finished<'a> {
        let mut neighbours: HashMap<&str, Vec<&str>> = HashMap::new();
        for (a, b) in self.links.keys() {
            neighbours.entry(a).or_default().push(b);
            neighbours.entry(b).or_default().push(a);
        }
        let mut queue = VecDeque::new();
        for (name, node) in &mut self.nodes {
            node.tier = match node.kind {
                NodeKind::Switch => None,
                NodeKind::Tor => Some(1),
                NodeKind::Host | NodeKind::Rnic => Some(0),
            };
            if node.kind == NodeKind::Tor {
                queue.push_back((name.clone(), 1));
            }
        }
        while let Some((name, tier)) = queue.pop_front() {
            for next in neighbours.get(&*name).into_iter().flatten() {
                if let Some(node) = self.nodes.get_mut(*next)
                    && node.tier.is_none()
                {
                    node.tier = Some(tier + 1);
                    queue.push_back((Cow::Borrowed(*next), tier + 1));
                }
            }
        }
        Finished {
            nodes: self.nodes,
            links: self.links.into_iter().collect(),
        }
    }
}

/// What answered at each hop, and the switch that it is: by the file's addresses, and at both ends the ToRs of the RNICs,
/// whatever they call themselves.
pub fn named<'a>(
    (source, target): (Option<&'a End>, Option<&'a End>),
    route: &'a Route,
    names: &'a Names,
) -> impl Iterator<Item = (Option<&'a str>, Option<&'a str>)> {
    let last = route.hops().len().wrapping_sub(1);
    route.hops().iter().enumerate().map(move |(index, hop)| {
        let answer = hop.as_ref().map(crate::id::NodeName::as_str);
        let tor = match (index, source, target) {
            (0, Some(source), _) => Some(source.tor.as_str()),
            (_, _, Some(target)) if index == last => Some(target.tor.as_str()),
            _ => None,
        };
        (
            answer,
            answer.map(|answer| tor.unwrap_or_else(|| names.of(answer))),
        )
    })
}

#[cfg(test)]
mod tests;
