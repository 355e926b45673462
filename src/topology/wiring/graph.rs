//! The switches and cables as a graph of numbers, for computations over all pairs of ToRs.

use std::collections::{BTreeSet, HashMap, VecDeque};

use crate::id::TorId;

/// Distance of what cannot be reached.
pub(crate) const UNREACHABLE: u32 = u32::MAX;

/// Switches and ToRs as nodes 0, 1, 2 …, cables between them as links.
#[derive(Debug, Clone)]
pub struct Graph {
    names: Vec<String>,
    nodes: HashMap<String, usize>,
    neighbours: Vec<Vec<Hop>>,
    links: usize,
}

/// A step over a cable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    /// Where it leads.
    pub to: usize,
    /// The direction of the cable: `2 · place` from `a` to `b` of the file's link, one more from `b` to `a`.
    pub link: usize,
}

/// How many shortest paths lead from each ToR to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathCounts {
    places: HashMap<TorId, usize>,
    /// By source and target place; 0 where no path is.
    counts: Vec<u32>,
}

impl Graph {
    /// The ToRs are the nodes 0 to n − 1 in their order.
    pub(super) fn new(tors: &BTreeSet<&TorId>, links: &[(&str, &str)]) -> Self {
        let mut graph = Self {
            names: Vec::new(),
            nodes: HashMap::new(),
            neighbours: Vec::new(),
            links: links.len(),
        };
        for tor in tors {
            graph.add(tor.as_str());
        }
        for (place, (a, b)) in links.iter().enumerate() {
            let (a, b) = (graph.add(a), graph.add(b));
            graph.neighbours[a].push(Hop {
                to: b,
                link: 2 * place,
            });
            graph.neighbours[b].push(Hop {
                to: a,
                link: 2 * place + 1,
            });
        }
        graph
    }

    fn add(&mut self, name: &str) -> usize {
        if let Some(node) = self.nodes.get(name) {
            return *node;
        }
        let node = self.names.len();
        self.names.push(name.to_owned());
        self.nodes.insert(name.to_owned(), node);
        self.neighbours.push(Vec::new());
        node
    }

    /// A switch by its name.
    pub fn node(&self, name: &str) -> Option<usize> {
        self.nodes.get(name).copied()
    }

    /// The name of a switch.
    pub fn name(&self, node: usize) -> &str {
        &self.names[node]
    }

    /// How many switches there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is no switch.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// How many directed links there are: two per cable.
    pub fn directed_links(&self) -> usize {
        2 * self.links
    }

    /// The cables that leave a switch.
    pub fn hops(&self, node: usize) -> &[Hop] {
        &self.neighbours[node]
    }

    /// Hops from each switch to `target`; [`UNREACHABLE`] where no path is.
    pub fn distances(&self, target: usize) -> Vec<u32> {
        self.shortest(target).0
    }

    /// Distance from `source`, and the number of shortest paths, of each switch.
    fn shortest(&self, source: usize) -> (Vec<u32>, Vec<u32>) {
        let mut distances = vec![UNREACHABLE; self.len()];
        let mut counts = vec![0_u32; self.len()];
        (distances[source], counts[source]) = (0, 1);
        let mut queue = VecDeque::from([source]);
        while let Some(node) = queue.pop_front() {
            for hop in &self.neighbours[node] {
                if distances[hop.to] == UNREACHABLE {
                    distances[hop.to] = distances[node] + 1;
                    queue.push_back(hop.to);
                }
                if distances[hop.to] == distances[node] + 1 {
                    counts[hop.to] = counts[hop.to].saturating_add(counts[node]);
                }
            }
        }
        (distances, counts)
    }
}

impl PathCounts {
    pub(super) fn new(tors: &BTreeSet<&TorId>, links: &[(&str, &str)]) -> Self {
        let graph = Graph::new(tors, links);
        let mut counts = Vec::with_capacity(tors.len() * tors.len());
        for source in 0..tors.len() {
            let (_, mut reached) = graph.shortest(source);
            reached[source] = 0;
            counts.extend_from_slice(&reached[..tors.len()]);
        }
        let places = tors.iter().enumerate();
        Self {
            places: places.map(|(place, tor)| ((*tor).clone(), place)).collect(),
            counts,
        }
    }

    /// The place of a ToR that the description knows.
    pub fn place(&self, tor: &TorId) -> Option<usize> {
        self.places.get(tor).copied()
    }

    /// Between two different ToRs by their places; 0 where no path is.
    pub fn at(&self, source: usize, target: usize) -> u32 {
        self.counts[source * self.places.len() + target]
    }

    /// Between two different ToRs; 0 where no path is, `None` where the description lacks one of them.
    pub fn between(&self, source: &TorId, target: &TorId) -> Option<u32> {
        Some(self.at(self.place(source)?, self.place(target)?))
    }

    /// The largest number between two ToRs.
    pub fn most(&self) -> u32 {
        self.counts.iter().copied().max().unwrap_or(0)
    }
}
