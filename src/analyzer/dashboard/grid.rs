//! How a matrix is drawn: which part of it, in how many cells, in which colours.
//!
//! At most [`SIDE`] rows and columns are drawn. Beyond that neighbours in the natural order of names stand together in one
//! cell, cut where the names' stems change if that fits; the cell has the colour of its worst pair, so that one bad pair
//! among a thousand shows, and opens the part that it stands for.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;

use super::format;
use super::matrix::{BETWEEN, Cell, Matrix};
use crate::api::list::natural;
use crate::id::TorId;
use crate::time::Nanos;

/// The most rows and columns.
pub(super) const SIDE: usize = 32;
/// Colours, the best first.
pub(super) const LEVELS: usize = 6;

/// What the cells show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Metric {
    /// Share of probes without an answer.
    #[default]
    Loss,
    /// Median network round trip.
    P50,
    /// 99th percentile of it.
    P99,
    /// 99th percentile of the time that the prober's host adds.
    Prober,
    /// The same of the responder's.
    Responder,
}

impl Metric {
    pub(super) const ALL: [Self; 5] = [
        Self::Loss,
        Self::P50,
        Self::P99,
        Self::Prober,
        Self::Responder,
    ];

    /// In URLs.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::Prober => "prober",
            Self::Responder => "responder",
        }
    }

    /// For people.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Loss => "Loss",
            Self::P50 => "RTT median",
            Self::P99 => "RTT p99",
            Self::Prober => "Prober delay",
            Self::Responder => "Responder delay",
        }
    }

    fn span(self, cell: &Cell) -> Option<Nanos> {
        match self {
            Self::Loss => None,
            Self::P50 => cell.rtt_p50,
            Self::P99 => cell.rtt_p99,
            Self::Prober => cell.prober_p99,
            Self::Responder => cell.responder_p99,
        }
    }

    /// What it is of a cell, larger is worse: a share, or nanoseconds.
    fn value(self, cell: &Cell) -> Option<f64> {
        match self {
            Self::Loss if cell.sent == 0 => None,
            Self::Loss => Some(cell.lost as f64 / cell.sent as f64),
            _ => self.span(cell).map(|span| span.0 as f64),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "made from an i64")]
    fn text(self, value: f64) -> String {
        match self {
            Self::Loss => format::percent(value),
            _ => format::span(Nanos(value as i64)),
        }
    }

    /// In a small cell: no unit for loss, which the legend has.
    fn short(self, value: f64) -> String {
        match self {
            Self::Loss => format::percent(value).trim_end_matches(" %").to_owned(),
            _ => self.text(value),
        }
    }
}

/// Upper bounds of the levels; what is above the last is the worst.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scale {
    metric: Metric,
    bounds: [f64; LEVELS - 1],
}

impl Scale {
    /// Losses have fixed steps. Spans are compared with the median of all pairs, rounded so that colours do not flicker.
    pub(super) fn of(metric: Metric, matrix: &Matrix) -> Self {
        if metric == Metric::Loss {
            let bounds = [0.0, 0.001, 0.01, 0.05, 0.2];
            return Self { metric, bounds };
        }
        let mut values: Vec<_> = matrix
            .cells
            .iter()
            .filter_map(|cell| metric.span(cell))
            .collect();
        let middle = values.len() / 2;
        let usual = if values.is_empty() {
            1_000.0
        } else {
            let (_, median, _) = values.select_nth_unstable(middle);
            two_digits((median.0 as f64).max(1.0))
        };
        Self {
            metric,
            bounds: [1.25, 1.5, 2.0, 4.0, 10.0].map(|factor| factor * usual),
        }
    }

    fn level(&self, value: f64) -> usize {
        self.bounds
            .iter()
            .take_while(|bound| value > **bound)
            .count()
    }

    /// What the colours mean, the best first.
    pub(super) fn legend(&self) -> Vec<Step> {
        let text = |bound: f64| self.metric.text(bound);
        (0..LEVELS)
            .map(|level| Step {
                level,
                text: match level {
                    0 if self.metric == Metric::Loss => "none".to_owned(),
                    0 => format!("≤ {}", text(self.bounds[0])),
                    _ if level < LEVELS - 1 => format!("≤ {}", text(self.bounds[level])),
                    _ => format!("> {}", text(self.bounds[LEVELS - 2])),
                },
            })
            .collect()
    }
}

fn two_digits(value: f64) -> f64 {
    let unit = 10f64.powf(value.log10().floor() - 1.0);
    (value / unit).round() * unit
}

/// One colour of the legend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) level: usize,
    pub(super) text: String,
}

/// A row or column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Axis {
    /// The ToR, or the first and last of several.
    pub(super) label: String,
    /// Which ToRs.
    pub(super) first: String,
    pub(super) last: String,
    pub(super) is_group: bool,
}

/// A cell as it is drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Drawn {
    /// 0 to 5, or `x` without results.
    pub(super) level: char,
    pub(super) text: String,
    /// The whole story.
    pub(super) label: String,
    pub(super) href: String,
}

/// A drawn matrix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grid {
    pub(super) columns: Vec<Axis>,
    pub(super) rows: Vec<(Axis, Vec<Drawn>)>,
    pub(super) legend: Vec<Step>,
    /// Whether cells stand for several pairs.
    pub(super) grouped: bool,
    /// ToRs that this shows, and all.
    pub(super) shown: (usize, usize),
    pub(super) total: usize,
}

impl Grid {
    /// The class that sets the cells' size.
    pub(super) fn size(&self) -> &'static str {
        match self.columns.len() {
            0..=10 => "large",
            11..=18 => "medium",
            _ => "small",
        }
    }
}

/// Which ToRs: from a name to a name, both included, in natural order.
pub(super) type Part = Option<(String, String)>;

/// The ToRs of a part, as places in the matrix.
fn places(matrix: &Matrix, part: &Part) -> Range<usize> {
    let Some((first, last)) = part else {
        return 0..matrix.tors.len();
    };
    let from = matrix
        .tors
        .partition_point(|tor| natural(tor.as_str(), first).is_lt());
    let to = matrix
        .tors
        .partition_point(|tor| natural(tor.as_str(), last).is_le());
    from..to.max(from)
}

/// The name without what counts it: `pod3-` of `pod3-tor12`.
fn stem(name: &str) -> &str {
    name.trim_end_matches(|c: char| c.is_ascii_digit())
}

/// Cuts the ToRs in `places` into at most [`SIDE`] groups of neighbours.
fn groups(matrix: &Matrix, places: Range<usize>) -> Vec<Range<usize>> {
    if places.len() <= SIDE {
        return places.map(|place| place..place + 1).collect();
    }
    let mut by_stem: Vec<Range<usize>> = Vec::new();
    for place in places.clone() {
        match by_stem.last_mut() {
            Some(group)
                if stem(matrix.tors[group.start].as_str()) == stem(matrix.tors[place].as_str()) =>
            {
                group.end = place + 1;
            }
            _ => by_stem.push(place..place + 1),
        }
    }
    if (2..=SIDE).contains(&by_stem.len()) {
        return by_stem;
    }
    let size = places.len().div_ceil(SIDE);
    places
        .clone()
        .step_by(size)
        .map(|start| start..(start + size).min(places.end))
        .collect()
}

fn axis(matrix: &Matrix, group: &Range<usize>) -> Axis {
    let name = |place: usize| matrix.tors[place].as_str().to_owned();
    let (first, last) = (name(group.start), name(group.end - 1));
    let is_group = group.len() > 1;
    Axis {
        label: if is_group {
            format!("{first}{BETWEEN}{last}")
        } else {
            first.clone()
        },
        first,
        last,
        is_group,
    }
}

/// What stands in one drawn cell.
#[derive(Debug, Clone, Copy, Default)]
struct Pile {
    sent: u64,
    lost: u64,
    pairs: u32,
    worst: Option<(f64, Cell)>,
}

impl Pile {
    fn add(&mut self, metric: Metric, cell: &Cell) {
        self.sent = self.sent.saturating_add(cell.sent);
        self.lost = self.lost.saturating_add(cell.lost);
        self.pairs += 1;
        if let Some(value) = metric.value(cell)
            && self.worst.is_none_or(|(worst, _)| value > worst)
        {
            self.worst = Some((value, *cell));
        }
    }
}

/// Draws a part of a matrix; `link` makes the address of what a cell opens.
pub(super) fn draw(
    matrix: &Matrix,
    metric: Metric,
    rows: &Part,
    columns: &Part,
    link: impl Fn(&Axis, &Axis) -> String,
) -> Grid {
    let scale = Scale::of(metric, matrix);
    let (row_places, column_places) = (places(matrix, rows), places(matrix, columns));
    let shown = (row_places.len(), column_places.len());
    let row_groups = groups(matrix, row_places);
    let column_groups = groups(matrix, column_places);
    let mut column_of = vec![None; matrix.tors.len()];
    for (at, group) in column_groups.iter().enumerate() {
        column_of[group.clone()].fill(Some(at));
    }
    let columns: Vec<Axis> = column_groups
        .iter()
        .map(|group| axis(matrix, group))
        .collect();
    let rows: Vec<(Axis, Vec<Drawn>)> = row_groups
        .iter()
        .map(|group| {
            let row = axis(matrix, group);
            let mut piles = vec![Pile::default(); columns.len()];
            for source in group.clone() {
                for cell in matrix.row(u32::try_from(source).unwrap_or(u32::MAX)) {
                    if let Some(at) = column_of[cell.target as usize] {
                        piles[at].add(metric, cell);
                    }
                }
            }
            let cells = piles
                .iter()
                .zip(&columns)
                .map(|(pile, column)| {
                    drawn(matrix, &scale, (&row, column), pile, link(&row, column))
                })
                .collect();
            (row, cells)
        })
        .collect();
    Grid {
        grouped: rows.iter().any(|(row, _)| row.is_group)
            || columns.iter().any(|column| column.is_group),
        columns,
        rows,
        legend: scale.legend(),
        shown,
        total: matrix.tors.len(),
    }
}

fn drawn(
    matrix: &Matrix,
    scale: &Scale,
    (row, column): (&Axis, &Axis),
    pile: &Pile,
    href: String,
) -> Drawn {
    let Some((value, cell)) = pile.worst else {
        let what = if pile.pairs == 0 {
            "no probes"
        } else {
            "no measurement"
        };
        return Drawn {
            level: 'x',
            text: String::new(),
            label: format!("{} → {}: {what}", row.label, column.label),
            href,
        };
    };
    let metric = scale.metric;
    let level = char::from_digit(u32::try_from(scale.level(value)).unwrap_or(0), 10).unwrap_or('0');
    let mut label = format!("{} → {}: ", row.label, column.label);
    if pile.pairs > 1 || row.is_group || column.is_group {
        let name = |place: u32| matrix.tors[place as usize].as_str();
        let _ = write!(
            label,
            "{} pairs, worst {} → {}: ",
            pile.pairs,
            name(cell.source),
            name(cell.target)
        );
    }
    let _ = write!(
        label,
        "{} lost ({} of {}), RTT median {}, p99 {}, prober delay p99 {}, responder delay p99 {}",
        format::loss(cell.lost, cell.sent),
        format::count(cell.lost),
        format::count(cell.sent),
        format::maybe_span(cell.rtt_p50),
        format::maybe_span(cell.rtt_p99),
        format::maybe_span(cell.prober_p99),
        format::maybe_span(cell.responder_p99),
    );
    Drawn {
        level,
        text: metric.short(value),
        label,
        href,
    }
}

/// A matrix of more ToRs than `most` with neighbours together: each cell has the counts of the pair that loses most and the
/// longest spans of all its pairs.
pub(super) fn reduced(matrix: Matrix, most: usize) -> Matrix {
    if matrix.tors.len() <= most {
        return matrix;
    }
    let groups = groups(&matrix, 0..matrix.tors.len());
    let mut group_of = vec![0; matrix.tors.len()];
    for (at, group) in (0..).zip(&groups) {
        group_of[group.clone()].fill(at);
    }
    let mut cells: BTreeMap<(u32, u32), Cell> = BTreeMap::new();
    for cell in &matrix.cells {
        let place = (
            group_of[cell.source as usize],
            group_of[cell.target as usize],
        );
        let cell = Cell {
            source: place.0,
            target: place.1,
            ..*cell
        };
        cells
            .entry(place)
            .and_modify(|known| known.take_worse(&cell))
            .or_insert(cell);
    }
    Matrix {
        tors: groups
            .iter()
            .map(|group| TorId::new(axis(&matrix, group).label))
            .collect(),
        cells: cells.into_values().collect(),
        ..matrix
    }
}

impl Cell {
    fn take_worse(&mut self, other: &Self) {
        let loss = |cell: &Self| Metric::Loss.value(cell);
        if loss(other) > loss(self) {
            (self.sent, self.lost) = (other.sent, other.lost);
        }
        self.rtt_p50 = self.rtt_p50.max(other.rtt_p50);
        self.rtt_p99 = self.rtt_p99.max(other.rtt_p99);
        self.prober_p99 = self.prober_p99.max(other.prober_p99);
        self.responder_p99 = self.responder_p99.max(other.responder_p99);
    }
}

#[cfg(test)]
mod tests;
