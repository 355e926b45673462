//! What all series counted in one minute, gathered path by path.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use super::block::Points;
use super::{Kind, Point, Series, Spans};
use crate::analysis::windows::{PathView, Slot, Sums};

/// The most series of one kind; those beyond are counted and not kept.
pub const MOST_SERIES: usize = 131_072;

/// The names of a fabric by numbers, so that a path costs no allocation once its names are known.
#[derive(Debug, Default)]
struct Names {
    numbers: HashMap<String, u32>,
    all: Vec<String>,
}

impl Names {
    /// The number of a name.
    fn number(&mut self, name: &str) -> u32 {
        if let Some(known) = self.numbers.get(name) {
            return *known;
        }
        let number = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        self.numbers.insert(name.to_owned(), number);
        self.all.push(name.to_owned());
        number
    }
}

/// The points of all series in one step.
#[derive(Debug, Default)]
pub struct Gathered {
    names: Names,
    points: HashMap<(Kind, u32, u32), Point>,
    counts: BTreeMap<Kind, usize>,
    left_out: u64,
}

impl Gathered {
    /// Takes what a path measured in these slots. `hops` are the names of the switches on its way, where they are known.
    pub fn take<'a>(
        &mut self,
        path: PathView<'_>,
        slots: &Range<Slot>,
        hops: impl Iterator<Item = Option<&'a str>>,
    ) {
        let mut sums = Sums::default();
        path.add_to(slots, &mut sums);
        let point = Point::from(&sums);
        if point.is_empty() {
            return;
        }
        let (source, target) = (path.source(), path.target());
        self.count(
            Kind::TorPair,
            source.tor.as_str(),
            target.tor.as_str(),
            &point,
        );
        let sender = Point {
            prober_delay: Spans::from(&sums.prober_delay),
            ..point.clone()
        };
        let responder = Point {
            responder_delay: Spans::from(&sums.responder_delay),
            ..point.clone()
        };
        for (end, point) in [(source, &sender), (target, &responder)] {
            self.count(Kind::Rnic, end.host.as_str(), end.device.as_str(), point);
        }
        if let Some(service) = path.service() {
            self.count(Kind::Service, service.as_str(), "", &point);
        }
        let mut before = None;
        for name in hops {
            if let (Some(from), Some(to)) = (before, name) {
                self.count(Kind::Link, from, to, &point);
            }
            before = name;
        }
    }

    /// Adds to a series.
    pub fn add(&mut self, series: &Series, point: &Point) {
        self.count(series.kind, &series.first, &series.second, point);
    }

    fn count(&mut self, kind: Kind, first: &str, second: &str, point: &Point) {
        let key = (kind, self.names.number(first), self.names.number(second));
        if let Some(known) = self.points.get_mut(&key) {
            known.merge(point);
            return;
        }
        let count = self.counts.entry(kind).or_default();
        if *count >= MOST_SERIES {
            self.left_out += 1;
            return;
        }
        *count += 1;
        self.points.insert(key, point.clone());
    }

    /// How often a point found no place.
    pub const fn left_out(&self) -> u64 {
        self.left_out
    }

    /// The points by kind and bucket.
    pub fn blocks(self) -> BTreeMap<(Kind, u16), Points> {
        let mut blocks: BTreeMap<(Kind, u16), Points> = BTreeMap::new();
        let name = |number: u32| self.names.all.get(number as usize).cloned();
        for ((kind, first, second), point) in self.points {
            let (Some(first), Some(second)) = (name(first), name(second)) else {
                continue;
            };
            let series = Series::new(kind, first, second);
            let block = blocks.entry((kind, series.bucket())).or_default();
            block.insert((series.first, series.second), point);
        }
        blocks
    }
}
