//! The files of `rpingmesh localize` and `simulate`: a topology, observations line by line, an answer.

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::component::Component;
use super::diagnosis::localize;
use super::error::ProblemError;
use super::problem::{PathObservation, Problem};
use super::search::{Diagnosis, Settings};
use crate::id::{DeviceName, HostName, RnicName, TorId};
use crate::topology::wiring::{Rnics, Wiring, WiringError};

/// One line of the observations file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObservationLine {
    /// Host or RNIC (`h1/mlx5_0`) that probed.
    pub src: String,
    /// Host or RNIC that was probed.
    pub dst: String,
    /// Nodes from `src` to `dst`, where the path is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<Vec<String>>,
    /// Candidate paths, where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<Vec<String>>>,
    /// Nodes from `dst` to `src`, where the observation is of round trips and the reverse path is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back: Option<Vec<String>>,
    /// Candidates for the reverse path, where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backs: Option<Vec<Vec<String>>>,
    /// Probes sent.
    pub sent: u64,
    /// Probes lost.
    pub lost: u64,
    /// Length of the window in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_s: Option<f64>,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Not JSON, or not of the form.
    #[error("{what}, line {line}, column {column}: {why}")]
    Json {
        /// Which file.
        what: &'static str,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What is wrong.
        why: String,
    },
    /// A topology that cannot be.
    #[error("topology: {0}")]
    Topology(#[from] WiringError),
    /// No observation at all.
    #[error("observations: {0}")]
    Nothing(String),
    /// A line that contradicts the topology or itself.
    #[error("observations, line {line}: {why}")]
    Line {
        /// From 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
}

impl FileError {
    pub(in crate::analysis) fn json(
        what: &'static str,
        line: usize,
        error: &serde_json::Error,
    ) -> Self {
        let text = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        Self::Json {
            what,
            line,
            column: error.column(),
            why: text.strip_suffix(&place).unwrap_or(&text).to_owned(),
        }
    }
}

/// A checked topology as a graph. A host whose RNICs are all under one ToR is one node, `h0`; where the file lists the RNICs
/// of a host each is a node, `h1/mlx5_0`.
#[derive(Debug, Clone, Default)]
pub struct Topology {
    names: Vec<String>,
    nodes: HashMap<String, u32>,
    /// Both directions of every cable.
    links: HashSet<(u32, u32)>,
    /// Nodes that each node is cabled to, in the order of the file.
    neighbours: Vec<Vec<u32>>,
    /// The nodes that are hosts or RNICs.
    ends: HashSet<u32>,
    /// The nodes that are RNICs.
    rnics: HashMap<u32, RnicName>,
    wiring: Wiring,
}

impl Topology {
    /// Reads and checks a topology file.
    ///
    /// # Errors
    /// [`FileError::Topology`] naming the entry.
    pub fn parse(text: &str) -> Result<Self, FileError> {
        Ok(Self::new(Wiring::parse(text)?))
    }

    /// The graph of a wiring.
    pub fn new(wiring: Wiring) -> Self {
        let mut topology = Self::default();
        for host in wiring.hosts() {
            match &host.rnics {
                Rnics::All(tor) => {
                    let node = topology.add_link(host.name.as_str(), tor.as_str());
                    topology.ends.insert(node);
                }
                Rnics::Each(rnics) => {
                    for rnic in rnics {
                        topology.add_rnic(
                            &RnicName::new(host.name.clone(), rnic.device.clone()),
                            &rnic.tors,
                        );
                    }
                }
            }
        }
        for link in wiring.links() {
            topology.add_link(&link.a, &link.b);
        }
        topology.wiring = wiring;
        topology
    }

    fn add_rnic(&mut self, rnic: &RnicName, tors: &[TorId]) {
        for tor in tors {
            let node = self.add_link(&rnic.to_string(), tor.as_str());
            self.ends.insert(node);
            self.rnics.entry(node).or_insert_with(|| rnic.clone());
        }
    }

    /// Cables, each counted once.
    pub fn cables(&self) -> usize {
        self.links.len() / 2
    }

    /// Number of hosts.
    pub fn hosts(&self) -> usize {
        self.wiring.hosts().len()
    }

    /// The node of a host or RNIC. An RNIC of a host that is one node is found by its full name, too.
    fn end(&self, name: &str) -> Result<u32, String> {
        if let Some(node) = self.nodes.get(name)
            && self.ends.contains(node)
        {
            return Ok(*node);
        }
        if let Ok(rnic) = name.parse::<RnicName>()
            && let Some(host) = self.wiring.host(&rnic.host)
            && matches!(host.rnics, Rnics::All(_))
            && let Some(node) = self.nodes.get(rnic.host.as_str())
        {
            return Ok(*node);
        }
        match self
            .wiring
            .host(&HostName::new(name))
            .map(|host| &host.rnics)
        {
            Some(Rnics::Each(rnics)) => {
                let first = rnics.first().map_or("mlx5_0", |rnic| rnic.device.as_str());
                let example = RnicName::new(name, first);
                Err(format!(
                    "the topology lists the RNICs of the host `{name}`; name one, such as `{example}`"
                ))
            }
            _ => Err(format!("`{name}` is no host and no RNIC of the topology")),
        }
    }

    /// The RNIC that an end is, if the observation or the topology names one.
    fn rnic(&self, name: &str) -> Option<RnicName> {
        match self.nodes.get(name) {
            Some(node) => self.rnics.get(node).cloned(),
            None => name.parse().ok(),
        }
    }

    /// All shortest paths between two hosts or RNICs through switches: what ECMP may choose from. At most `most` of them, in
    /// the order of the file; none when a name is unknown or nothing joins them.
    pub fn candidates(&self, src: &str, dst: &str, most: usize) -> Vec<Vec<&str>> {
        let (Some(&src), Some(&dst)) = (self.nodes.get(src), self.nodes.get(dst)) else {
            return Vec::new();
        };
        if src == dst {
            return Vec::new();
        }
        let distance = self.distances(dst, src);
        let mut paths = Vec::new();
        let mut path = vec![src];
        self.descend(&distance, &mut path, most, &mut paths);
        paths
    }

    /// Hops to `to` for all nodes that are no further from it than `from`; hosts do not forward.
    fn distances(&self, to: u32, from: u32) -> HashMap<u32, usize> {
        let mut distance = HashMap::from([(to, 0)]);
        let mut queue = VecDeque::from([to]);
        while let Some(node) = queue.pop_front() {
            let hops = distance[&node];
            if node == from || distance.get(&from).is_some_and(|far| hops >= *far) {
                break;
            }
            if node != to && self.ends.contains(&node) {
                continue;
            }
            for next in &self.neighbours[node as usize] {
                if !distance.contains_key(next) {
                    distance.insert(*next, hops + 1);
                    queue.push_back(*next);
                }
            }
        }
        distance
    }

    fn descend<'a>(
        &'a self,
        distance: &HashMap<u32, usize>,
        path: &mut Vec<u32>,
        most: usize,
        paths: &mut Vec<Vec<&'a str>>,
    ) {
        let Some((last, hops)) = path
            .last()
            .and_then(|last| distance.get(last).map(|hops| (*last, *hops)))
        else {
            return;
        };
        if paths.len() >= most {
            return;
        }
        if hops == 0 {
            let names = path.iter().map(|node| self.names[*node as usize].as_str());
            paths.push(names.collect());
            return;
        }
        for next in &self.neighbours[last as usize] {
            if distance.get(next).is_some_and(|left| left + 1 == hops) {
                path.push(*next);
                self.descend(distance, path, most, paths);
                path.pop();
            }
        }
    }

    fn node(&mut self, name: &str) -> u32 {
        if let Some(node) = self.nodes.get(name) {
            return *node;
        }
        // A file with more nodes than that does not fit any memory.
        let node = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.names.push(name.to_owned());
        self.nodes.insert(name.to_owned(), node);
        self.neighbours.push(Vec::new());
        node
    }

    /// Adds a cable, and gives its first end. Parallel cables are one link.
    fn add_link(&mut self, a: &str, b: &str) -> u32 {
        let (a, b) = (self.node(a), self.node(b));
        if self.links.insert((a, b)) {
            self.links.insert((b, a));
            self.neighbours[a as usize].push(b);
            self.neighbours[b as usize].push(a);
        }
        a
    }

    fn check(&self, (src, dst): (&str, &str), path: &[String]) -> Result<(), String> {
        let (Some(first), Some(last)) = (path.first(), path.last()) else {
            return Err("the path is empty".to_owned());
        };
        if first != src || last != dst {
            return Err(format!(
                "the path runs from `{first}` to `{last}`, the line says `{src}` to `{dst}`"
            ));
        }
        let (src, dst) = (self.end(first)?, self.end(last)?);
        let mut before = None;
        for (index, name) in path.iter().enumerate() {
            let node = if index == 0 {
                src
            } else if index + 1 == path.len() {
                dst
            } else {
                *self
                    .nodes
                    .get(name)
                    .ok_or_else(|| format!("`{name}` is not in the topology"))?
            };
            if index > 0 && index + 1 < path.len() && self.ends.contains(&node) {
                return Err(format!("the path leads through the host `{name}`"));
            }
            if let Some((from, from_name)) = before.replace((node, name))
                && !self.links.contains(&(from, node))
            {
                return Err(format!("the topology has no link `{from_name}`-`{name}`"));
            }
        }
        Ok(())
    }

    /// The paths of one direction, checked.
    fn paths<'a>(
        &self,
        ends: (&str, &str),
        paths: &'a [Vec<String>],
    ) -> Result<Vec<Vec<&'a str>>, String> {
        paths
            .iter()
            .map(|path| {
                self.check(ends, path)?;
                Ok(path.iter().map(String::as_str).collect())
            })
            .collect()
    }
}

/// Reads an observations file (JSON lines; empty lines are passed over) into a problem.
///
/// Lines with a `window_s` other than `window` are left out when one is given; without, all lines have to be of the same
/// window, or probes would count several times.
///
/// # Errors
/// [`FileError::Json`], [`FileError::Line`] with the number of the first bad line, [`FileError::Nothing`].
pub fn read_observations(
    topology: &Topology,
    text: &str,
    window: Option<f64>,
) -> Result<Problem, FileError> {
    read_with_hosts(topology, text, window, BTreeSet::new())
}

/// Reads observations and localises what they show, as [`read_observations`] and [`localize`] do. Where lines name several RNICs
/// of a host, the host is a suspect beside them, as long as it is one: as a mere choice it would only hide faults of some of
/// its RNICs.
///
/// # Errors
/// Those of [`read_observations`].
pub fn locate(
    topology: &Topology,
    text: &str,
    window: Option<f64>,
    settings: &Settings,
) -> Result<(Problem, Diagnosis), FileError> {
    let several = hosts_of_several(topology, text);
    let mut hosts = BTreeSet::new();
    if !several.is_empty() {
        let problem = read_with_hosts(topology, text, window, several)?;
        let suspects = localize(&problem, settings).suspects.into_iter();
        hosts.extend(suspects.filter_map(|suspect| match suspect.component {
            Component::Host { name } => Some(HostName::new(name)),
            Component::Link { .. }
            | Component::Switch { .. }
            | Component::Rnic { .. }
            | Component::Group { .. } => None,
        }));
    }
    let problem = read_with_hosts(topology, text, window, hosts)?;
    let diagnosis = localize(&problem, settings);
    Ok((problem, diagnosis))
}

fn read_with_hosts(
    topology: &Topology,
    text: &str,
    window: Option<f64>,
    hosts: BTreeSet<HostName>,
) -> Result<Problem, FileError> {
    let mut problem = Problem::new();
    problem.add_hosts(hosts);
    let mut windows = Windows::default();
    for (index, content) in text.lines().enumerate() {
        let number = index + 1;
        if content.trim().is_empty() {
            continue;
        }
        let line: ObservationLine = serde_json::from_str(content)
            .map_err(|error| FileError::json("observations", number, &error))?;
        let result = windows.take(&line, window).and_then(|wanted| {
            if wanted {
                add_line(topology, &mut problem, &line)
            } else {
                // What is left out must be right all the same, or the file's state depends on the question.
                add_line(topology, &mut Problem::new(), &line)
            }
        });
        result.map_err(|why| FileError::Line { line: number, why })?;
    }
    if problem.observations() == 0 {
        return Err(FileError::Nothing(windows.none_of(window)));
    }
    Ok(problem)
}

/// The ends of a line, whatever else it has.
#[derive(Deserialize)]
struct Ends<'a> {
    #[serde(borrow)]
    src: Cow<'a, str>,
    #[serde(borrow)]
    dst: Cow<'a, str>,
}

/// The hosts of which lines name several RNICs. Lines that cannot be read are passed over: they are refused when it is their
/// turn.
fn hosts_of_several(topology: &Topology, text: &str) -> BTreeSet<HostName> {
    let mut first: HashMap<HostName, DeviceName> = HashMap::new();
    let mut several = BTreeSet::new();
    for content in text.lines() {
        let Ok(ends) = serde_json::from_str::<Ends<'_>>(content) else {
            continue;
        };
        for rnic in [ends.src, ends.dst]
            .iter()
            .filter_map(|end| topology.rnic(end))
        {
            match first.entry(rnic.host) {
                Entry::Vacant(place) => {
                    place.insert(rnic.device);
                }
                Entry::Occupied(known) => {
                    if *known.get() != rnic.device {
                        several.insert(known.key().clone());
                    }
                }
            }
        }
    }
    several
}

/// The lengths of windows that a file has.
#[derive(Default)]
struct Windows {
    seen: Vec<Option<f64>>,
}

impl Windows {
    /// Whether a line is of the window that is asked for.
    fn take(&mut self, line: &ObservationLine, window: Option<f64>) -> Result<bool, String> {
        let have = line.window_s;
        if let Some(length) = have
            && !(length > 0.0 && length.is_finite())
        {
            return Err(format!("window_s is {length}; expected more than 0"));
        }
        if !self.seen.contains(&have) && self.seen.len() < 16 {
            self.seen.push(have);
        }
        match window {
            Some(wanted) => Ok(have.is_none_or(|have| (wanted - have).abs() < 1e-9)),
            None if self.seen.len() > 1 => Err(format!(
                "windows of different lengths ({}): choose one with --window",
                self.list()
            )),
            None => Ok(true),
        }
    }

    fn list(&self) -> String {
        let name =
            |seen: &Option<f64>| seen.map_or("none".to_owned(), |length| format!("{length} s"));
        self.seen.iter().map(name).collect::<Vec<_>>().join(", ")
    }

    fn none_of(&self, window: Option<f64>) -> String {
        match window {
            Some(wanted) if !self.seen.is_empty() => {
                format!(
                    "no line has a window of {wanted} s; there are: {}",
                    self.list()
                )
            }
            _ => "the file has no lines".to_owned(),
        }
    }
}

/// Adds one line to a problem.
///
/// # Errors
/// What is wrong with the line.
pub(crate) fn add_line(
    topology: &Topology,
    problem: &mut Problem,
    line: &ObservationLine,
) -> Result<(), String> {
    let paths: &[Vec<String>] = match (&line.path, &line.paths) {
        (Some(path), None) => std::slice::from_ref(path),
        (None, Some(paths)) => paths,
        _ => return Err("exactly one of `path` and `paths` is needed".to_owned()),
    };
    let backs: Option<&[Vec<String>]> = match (&line.back, &line.backs) {
        (None, None) => None,
        (Some(back), None) => Some(std::slice::from_ref(back)),
        (None, Some(backs)) => Some(backs),
        (Some(_), Some(_)) => return Err("only one of `back` and `backs` can be given".to_owned()),
    };
    let (src, dst) = (line.src.as_str(), line.dst.as_str());
    let paths = topology.paths((src, dst), paths)?;
    let backs = backs
        .map(|backs| topology.paths((dst, src), backs))
        .transpose()?;
    for end in [src, dst] {
        if let Some(rnic) = topology.rnic(end) {
            problem.add_rnic(&rnic).map_err(|error| error.to_string())?;
        }
    }
    let observation = PathObservation {
        paths,
        sent: line.sent,
        lost: line.lost,
    };
    let added = match &backs {
        Some(backs) => problem.add_round_trip(&observation, backs),
        None => problem.add(&observation),
    };
    added.map_err(|error: ProblemError| error.to_string())
}

/// An answer of any method: what `rpingmesh localize --json` prints, or just the components.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AnswerFile {
    /// The components that are blamed.
    pub suspects: Vec<Component>,
}

impl AnswerFile {
    /// Reads an answer; fields beside a suspect's kind and names are passed over.
    ///
    /// # Errors
    /// [`FileError::Json`].
    pub fn parse(text: &str) -> Result<Self, FileError> {
        serde_json::from_str(text).map_err(|error| FileError::json("answer", error.line(), &error))
    }
}
