//! The files of `rpingmesh localize` and `simulate`: a topology, observations line by line, an answer.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::problem::{PathObservation, Problem, ProblemError};

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

/// The topology file: `{"links":[{"a":"spine0","b":"tor3"}], "hosts":[{"name":"h0","tor":"tor0"}]}`.
///
/// A host link is a link between the host and its ToR; it need not be listed under `links`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopologyFile {
    /// All cables.
    pub links: Vec<LinkEntry>,
    /// All hosts.
    pub hosts: Vec<HostEntry>,
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
    fn json(what: &'static str, line: usize, error: &serde_json::Error) -> Self {
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
    /// Both directions of every cable.
    links: HashSet<(String, String)>,
    hosts: HashMap<String, String>,
}

impl Topology {
    /// Reads and checks a topology file.
    ///
    /// # Errors
    /// [`FileError::Json`], [`FileError::Topology`] naming the entry.
    pub fn parse(text: &str) -> Result<Self, FileError> {
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
            if let Some(other) = topology.hosts.insert(name.clone(), tor.clone()) {
                return Err(FileError::Topology(format!(
                    "host `{name}` stands under `{other}` and `{tor}`"
                )));
            }
            topology.add_link(name, tor)?;
        }
        for LinkEntry { a, b } in &file.links {
            topology.add_link(a, b)?;
        }
        if let Some((name, tor)) = topology
            .hosts
            .iter()
            .find(|(_, tor)| topology.hosts.contains_key(*tor))
        {
            return Err(FileError::Topology(format!(
                "host `{name}` names the host `{tor}` as its ToR"
            )));
        }
        Ok(topology)
    }

    fn add_link(&mut self, a: &str, b: &str) -> Result<(), FileError> {
        if a == b {
            return Err(FileError::Topology(format!("`{a}` has a link to itself")));
        }
        self.links.insert((a.to_owned(), b.to_owned()));
        self.links.insert((b.to_owned(), a.to_owned()));
        Ok(())
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
            if !self.hosts.contains_key(end) {
                return Err(format!("`{end}` is no host of the topology"));
            }
        }
        let missing = path
            .windows(2)
            .find(|pair| !self.links.contains(&(pair[0].clone(), pair[1].clone())));
        missing.map_or(Ok(()), |pair| {
            Err(format!(
                "the topology has no link `{}`-`{}`",
                pair[0], pair[1]
            ))
        })
    }
}

/// Reads an observations file (JSON lines; empty lines are passed over) into a problem.
///
/// Lines with a `window_s` other than `window` are left out when one is given.
///
/// # Errors
/// [`FileError::Json`], [`FileError::Line`] with the number of the first bad line.
pub fn read_observations(
    topology: &Topology,
    text: &str,
    window: Option<f64>,
) -> Result<Problem, FileError> {
    let mut problem = Problem::new();
    for (index, content) in text.lines().enumerate() {
        let number = index + 1;
        if content.trim().is_empty() {
            continue;
        }
        let line: ObservationLine = serde_json::from_str(content)
            .map_err(|error| FileError::json("observations", number, &error))?;
        let other_window = |have: f64| window.is_some_and(|wanted| (wanted - have).abs() > 1e-9);
        if line.window_s.is_some_and(other_window) {
            continue;
        }
        add_line(topology, &mut problem, &line)
            .map_err(|why| FileError::Line { line: number, why })?;
    }
    Ok(problem)
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
    let paths: Vec<&Vec<String>> = match (&line.path, &line.paths) {
        (Some(path), None) => vec![path],
        (None, Some(paths)) => paths.iter().collect(),
        _ => return Err("exactly one of `path` and `paths` is needed".to_owned()),
    };
    for path in &paths {
        topology.check(line, path)?;
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
