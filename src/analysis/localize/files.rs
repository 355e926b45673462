//! The files of `rpingmesh localize` and `simulate`: a topology, observations line by line, an answer.

use std::collections::{HashMap, HashSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::component::Component;
use super::problem::{PathObservation, Problem, ProblemError};
use crate::id::RnicName;

/// A cable between two nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkEntry {
    /// One end.
    pub a: String,
    /// The other end.
    pub b: String,
}

/// A host and the ToR that it is cabled to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostEntry {
    /// The host.
    pub name: String,
    /// Its ToR.
    pub tor: String,
}

/// What a switch calls itself where it answers traces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwitchEntry {
    /// Its name in `links`.
    pub name: String,
    /// Addresses of its interfaces.
    pub addresses: Vec<String>,
}

/// The topology file: `{"links":[{"a":"spine0","b":"tor3"}], "hosts":[{"name":"h0","tor":"tor0"}]}`.
///
/// A host link is a link between the host and its ToR; it need not be listed under `links`. Unknown
/// fields are errors that name the field.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopologyFile {
    /// All cables.
    pub links: Vec<LinkEntry>,
    /// All hosts.
    pub hosts: Vec<HostEntry>,
    /// For the analyzer, whose file this may be; paths of observations have names already.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub switches: Vec<SwitchEntry>,
}

/// One line of the observations file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObservationLine {
    /// Host that probed.
    pub src: String,
    /// Host that was probed.
    pub dst: String,
    /// Nodes from `src` to `dst`, where the path is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<Vec<String>>,
    /// Candidate paths, where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<Vec<String>>>,
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
    Topology(String),
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

/// A checked topology.
#[derive(Debug, Clone, Default)]
pub struct Topology {
    names: Vec<String>,
    nodes: HashMap<String, u32>,
    /// Both directions of every cable.
    links: HashSet<(u32, u32)>,
    /// Nodes that each node is cabled to, in the order of the file.
    neighbours: Vec<Vec<u32>>,
    /// ToR of each node that is a host or an RNIC.
    tors: HashMap<u32, u32>,
    /// The nodes that are RNICs: hosts that the file names `HOST/DEVICE`.
    rnics: HashMap<u32, RnicName>,
}

impl Topology {
    /// Reads and checks a topology file.
    ///
    /// # Errors
    /// [`FileError::Json`], [`FileError::Topology`] naming the entry.
    pub fn parse(text: &str) -> Result<Self, FileError> {
        if text.trim().is_empty() {
            return Err(FileError::Topology(
                r#"the file is empty; expected {"links":[…],"hosts":[…]}"#.to_owned(),
            ));
        }
        let file: TopologyFile = serde_json::from_str(text)
            .map_err(|error| FileError::json("topology", error.line(), &error))?;
        Self::new(&file)
    }

    /// Checks a topology.
    ///
    /// # Errors
    /// [`FileError::Topology`] naming the entry.
    pub fn new(file: &TopologyFile) -> Result<Self, FileError> {
        let mut topology = Self::default();
        for HostEntry { name, tor } in &file.hosts {
            let (host, under) = topology.add_link(name, tor)?;
            if let Ok(rnic) = name.parse() {
                topology.rnics.insert(host, rnic);
            }
            if let Some(other) = topology.tors.insert(host, under) {
                return Err(FileError::Topology(format!(
                    "host `{name}` stands under `{}` and `{tor}`",
                    topology.names[other as usize]
                )));
            }
        }
        for HostEntry { name, tor } in &file.hosts {
            if topology.is_host(tor) {
                return Err(FileError::Topology(format!(
                    "host `{name}` names the host `{tor}` as its ToR"
                )));
            }
        }
        for LinkEntry { a, b } in &file.links {
            if topology.is_host(a) && topology.is_host(b) {
                return Err(FileError::Topology(format!(
                    "a link joins the hosts `{a}` and `{b}`; one of its ends has to be a switch"
                )));
            }
            topology.add_link(a, b)?;
        }
        if topology.tors.is_empty() {
            return Err(FileError::Topology(
                "there are no hosts: nothing can have probed".to_owned(),
            ));
        }
        Ok(topology)
    }

    /// Cables, each counted once.
    pub fn cables(&self) -> usize {
        self.links.len() / 2
    }

    /// Number of hosts.
    pub fn hosts(&self) -> usize {
        self.tors.len()
    }

    /// Whether a name is that of a host.
    pub fn is_host(&self, name: &str) -> bool {
        self.nodes
            .get(name)
            .is_some_and(|node| self.tors.contains_key(node))
    }

    /// The RNIC that a node is.
    fn rnic(&self, name: &str) -> Option<&RnicName> {
        self.nodes.get(name).and_then(|node| self.rnics.get(node))
    }

    /// All shortest paths between two hosts through switches: what ECMP may choose from. At most `most` of them, in the
    /// order of the file; none when a name is unknown or nothing joins them.
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
            if node != to && self.tors.contains_key(&node) {
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

    fn node(&mut self, name: &str) -> Result<u32, FileError> {
        if let Some(node) = self.nodes.get(name) {
            return Ok(*node);
        }
        if name.is_empty() {
            return Err(FileError::Topology("a node has an empty name".to_owned()));
        }
        let node = u32::try_from(self.names.len())
            .map_err(|_| FileError::Topology("more nodes than can be counted".to_owned()))?;
        self.names.push(name.to_owned());
        self.nodes.insert(name.to_owned(), node);
        self.neighbours.push(Vec::new());
        Ok(node)
    }

    fn add_link(&mut self, a: &str, b: &str) -> Result<(u32, u32), FileError> {
        if a == b {
            return Err(FileError::Topology(format!("`{a}` has a link to itself")));
        }
        let (a, b) = (self.node(a)?, self.node(b)?);
        // A host's link may be listed under `links` too, and parallel cables are one link.
        if self.links.insert((a, b)) {
            self.links.insert((b, a));
            self.neighbours[a as usize].push(b);
            self.neighbours[b as usize].push(a);
        }
        Ok((a, b))
    }

    fn check(&self, line: &ObservationLine, path: &[String]) -> Result<(), String> {
        let (Some(first), Some(last)) = (path.first(), path.last()) else {
            return Err("the path is empty".to_owned());
        };
        if *first != line.src || *last != line.dst {
            return Err(format!(
                "the path runs from `{first}` to `{last}`, the line says `{}` to `{}`",
                line.src, line.dst
            ));
        }
        for end in [first, last] {
            if !self.is_host(end) {
                return Err(format!("`{end}` is no host of the topology"));
            }
        }
        let mut before = None;
        for (index, name) in path.iter().enumerate() {
            let Some(node) = self.nodes.get(name) else {
                return Err(format!("`{name}` is not in the topology"));
            };
            if index > 0 && index + 1 < path.len() && self.tors.contains_key(node) {
                return Err(format!("the path leads through the host `{name}`"));
            }
            if let Some((from, from_name)) = before.replace((*node, name))
                && !self.links.contains(&(from, *node))
            {
                return Err(format!("the topology has no link `{from_name}`-`{name}`"));
            }
        }
        Ok(())
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
    let mut problem = Problem::new();
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
pub fn add_line(
    topology: &Topology,
    problem: &mut Problem,
    line: &ObservationLine,
) -> Result<(), String> {
    let paths: &[Vec<String>] = match (&line.path, &line.paths) {
        (Some(path), None) => std::slice::from_ref(path),
        (None, Some(paths)) => paths,
        _ => return Err("exactly one of `path` and `paths` is needed".to_owned()),
    };
    for path in paths {
        topology.check(line, path)?;
    }
    for end in [&line.src, &line.dst] {
        if let Some(rnic) = topology.rnic(end) {
            problem.add_rnic(rnic).map_err(|error| error.to_string())?;
        }
    }
    let observation = PathObservation {
        paths: paths
            .iter()
            .map(|path| path.iter().map(String::as_str).collect())
            .collect(),
        sent: line.sent,
        lost: line.lost,
    };
    problem
        .add(&observation)
        .map_err(|error: ProblemError| error.to_string())
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
